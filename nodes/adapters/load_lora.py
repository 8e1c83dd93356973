"""LoadLoRA."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Node, OutsideFiles, WorkspacePath
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_method
from nodes.diffusion.handles.adapters import LowRankAdapter, TokenEmbedding
from nodes.diffusion.handles.models import DiffusionModel

if TYPE_CHECKING:
    from torch import Tensor

    from nodes.diffusion.adapters.lora.read import LoraFile

PEFT_CONFIG = "adapter_config.json"
"""Where folders of PEFT keep alpha, beside `adapter_model.safetensors`."""
IDLE = "their alpha, or one of their matrices, is 0."
Strength = Annotated[float, Field(ge=-10, le=10)]


FOLDER_FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
"""What PEFT and diffusers call the weights in a folder."""


class LoadLoRA(Node):
    """Lay a LoRA over a model that was trained before, by this program or another one; several in a row add up.

    Words that were bundled with it can be used in prompts. TrainLoRA behind it goes on training it.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("LoraLoader", "LyCORIS", "LoCon", "LoHa", "LoKr", "DoRA", "GLoRA", "adapter file")
    version: ClassVar[int] = 2

    file: WorkspacePath
    """A .safetensors file of kohya, LyCORIS, OneTrainer, diffusers or PEFT, or a folder of the last two: LoRA, LoCon, LoHa,
    LoKr, DoRA, GLoRA, (IA)3 of LyCORIS, changes of norms."""
    unet_strength: Strength = 1.0
    """How much it changes the pictures; 0 leaves the UNet as it is, below 0 the
    change is taken away."""
    text_encoder_strength: Strength = 1.0
    """How much it changes what prompts mean, if it was trained for that; 0 leaves the text encoders
    as they are, below 0 the change is taken away."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        path, reference = files.resolve(self.file), self.file
        if path.is_dir():
            within = next((name for name in FOLDER_FILES if (path / name).is_file()), None)
            if within is None:
                message = f"the folder {self.file!r} holds no {' or '.join(FOLDER_FILES)}."
                raise InputError(message, field="file", remedy="Choose a LoRA's .safetensors file, or a folder of PEFT.")
            path, reference = path / within, str(path / within)
        if not path.is_file():
            raise InputError(f"there is no file {self.file!r}.", field="file", remedy="Choose a LoRA's .safetensors file.")
        return {
            "file": files.digest_file(reference),
            "name": PurePath(self.file).stem,
            "config": files.digest_beside(reference, PEFT_CONFIG) if path.name == FOLDER_FILES[0] else None,
        }

    def run(self, model: DiffusionModel, context: RunContext) -> DiffusionModel:
        check_method(model.family, "LoRA")
        folder, config = context.locate(model.digest), context.fingerprint["config"]
        info = diffusion.formats.info_of(model, folder)
        path = context.locate(context.fingerprint["file"])
        read = diffusion.adapters.read_lora(
            path, diffusion.adapters.layer_shapes(model, folder), model.family, context.locate(config) if config else None
        )
        _tell_what_does_nothing(read, context)
        words = _bundled_words(read.bundled, model, context)
        adapter = self._adapter(read, len(info.text_parts) // 2, context)
        return replace(model, adapters=(*model.adapters, *words, *([adapter] if adapter else [])))

    def _adapter(self, read: "LoraFile", text_encoders: int, context: RunContext) -> LowRankAdapter | None:
        """Return what was read, of the parts on which it is to act."""
        from safetensors.torch import save_file

        tensors: dict[str, Tensor] = {}
        targets: dict[str, tuple[str, ...]] = {}
        for layer in sorted(read.layers):
            part, _, name = layer.partition(".")
            if self.unet_strength if part == "unet" else self.text_encoder_strength:
                targets[part] = (*targets.get(part, ()), name)
                tensors |= {f"{layer}.{leaf}": tensor for leaf, tensor in read.tensors_of(layer).items()}
        if not tensors:
            return None
        encoders = tuple(targets.get(f"text_encoder_{number}", ()) for number in range(text_encoders))
        return LowRankAdapter(
            name=context.fingerprint["name"],
            algorithm=read.algorithm,
            rank=read.rank,
            alpha=read.scale * read.rank,
            unet_targets=targets.get("unet", ()),
            text_encoder_targets=encoders if any(encoders) else (),
            weights=context.add_file(".safetensors", lambda path: save_file(tensors, path)),
            unet_strength=self.unet_strength,
            text_encoder_strength=self.text_encoder_strength,
        )


def _tell_what_does_nothing(read: "LoraFile", context: RunContext) -> None:
    if read.unknown:
        count, first = len(read.unknown), read.unknown[0][:100]
        context.message(f"{count} tensors have no place in this model and are left out, such as {first}.", "warning")
    if read.idle:
        count, first = len(read.idle), read.idle[0]
        context.message(f"{count} of {len(read.layers)} layers change nothing, such as {first}: {IDLE}", "warning")
    if not read.layers:
        context.message("every layer of this LoRA has rank 0: it changes nothing.", "warning")


def _bundled_words(bundled: Mapping[str, "Tensor"], model: DiffusionModel, context: RunContext) -> list[TokenEmbedding]:
    """The words that came with a LoRA; what is wrong with one is told, and the LoRA is loaded without it."""
    from safetensors.torch import save_file

    known = {word.placeholder_token.lower() for word in model.adapters if isinstance(word, TokenEmbedding)}
    words: list[TokenEmbedding] = []
    for token, tensors in diffusion.adapters.bundled_tensors(bundled).items():
        placeholder = "".join(token.split())
        if placeholder.lower() in known:
            context.message(f"the bundled word {placeholder} is left out: the model has one of that name.", "warning")
            continue
        try:
            vectors = diffusion.adapters.vectors_of(tensors, f"the bundled word {placeholder}")
            diffusion.adapters.check_widths(vectors, model, context.locate(model.digest))
        except InputError as error:
            context.message(f"{error} It is left out.", "warning")
            continue
        named = {f"text_encoder_{number}": tensor.contiguous() for number, tensor in enumerate(vectors)}
        weights = context.add_file(".safetensors", lambda path, named=named: save_file(named, path))
        words.append(TokenEmbedding(placeholder_token=placeholder, num_vectors=len(vectors[0]), weights=weights))
    if words:
        context.message(f"prompts can use the bundled {', '.join(word.placeholder_token for word in words)}.")
    return words
