"""LoadLoRA."""

from dataclasses import replace
from pathlib import PurePath
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Node, OutsideFiles, WorkspaceFile
from nodes.diffusion.adapters import LowRankAdapter
from nodes.diffusion.errors import InputError
from nodes.diffusion.values import DiffusionModel

PEFT_CONFIG = "adapter_config.json"
"""Where folders of PEFT keep alpha, beside `adapter_model.safetensors`."""
IDLE = "their alpha, or one of their matrices, is 0."
Strength = Annotated[float, Field(ge=-10, le=10)]


class LoadLoRA(Node):
    """Lay a LoRA over a model that was trained before, by this program or another one; several in a row add up."""

    synonyms: ClassVar[tuple[str, ...]] = ("LoraLoader", "LyCORIS", "LoCon", "LoHa", "LoKr", "DoRA", "adapter file")

    file: WorkspaceFile
    """A .safetensors file of kohya, LyCORIS, OneTrainer, diffusers or PEFT: LoRA, LoCon, LoHa, LoKr or DoRA."""
    unet_strength: Strength = 1.0
    """How much it changes the pictures; 0 leaves the UNet as it is."""
    text_encoder_strength: Strength = 1.0
    """How much it changes what prompts mean, if it was trained for that; 0 leaves the text encoders as they are."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        path = files.resolve(self.file)
        if not path.is_file():
            raise InputError(f"there is no file {self.file!r}.", field="file", remedy="Choose a LoRA's .safetensors file.")
        of_peft = path.name == "adapter_model.safetensors"
        return {
            "file": files.digest_file(self.file),
            "name": PurePath(self.file).stem,
            "config": files.digest_beside(self.file, PEFT_CONFIG) if of_peft else None,
        }

    def run(self, model: DiffusionModel, context: RunContext) -> DiffusionModel:
        from nodes.diffusion.folders import inspect_folder
        from nodes.diffusion.lora_reading import read_lora
        from nodes.diffusion.lora_targets import layer_shapes

        folder, config = context.locate(model.digest), context.fingerprint["config"]
        facts = inspect_folder(folder, weights=False)
        path = context.locate(context.fingerprint["file"])
        read = read_lora(path, layer_shapes(folder, facts), context.locate(config) if config else None)
        if read.unknown:
            count, first = len(read.unknown), read.unknown[0][:100]
            context.message(f"{count} tensors have no place in this model and are left out, such as {first}.", "warning")
        if read.idle:
            count, first = len(read.idle), read.idle[0]
            context.message(f"{count} of {len(read.layers)} layers change nothing, such as {first}: {IDLE}", "warning")
        adapter = self._adapter(read, len(facts.text_parts) // 2, context)
        return replace(model, adapters=(*model.adapters, adapter)) if adapter else model

    def _adapter(self, read: Any, text_encoders: int, context: RunContext) -> LowRankAdapter | None:
        """What was read, of the parts on which it is to act."""
        from safetensors.torch import save_file

        tensors: dict[str, Any] = {}
        targets: dict[str, tuple[str, ...]] = {}
        for layer, leaves in sorted(read.layers.items()):
            part, _, name = layer.partition(".")
            if self.unet_strength if part == "unet" else self.text_encoder_strength:
                targets[part] = (*targets.get(part, ()), name)
                tensors |= {f"{layer}.{leaf}": tensor for leaf, tensor in leaves.items()}
        if not tensors:
            return None
        encoders = tuple(targets.get(f"text_encoder_{number}", ()) for number in range(text_encoders))
        return LowRankAdapter(
            name=context.fingerprint["name"],
            algorithm=read.algorithm,
            rank=read.rank,
            alpha=read.rank,
            unet_targets=targets.get("unet", ()),
            text_encoder_targets=encoders if any(encoders) else (),
            weights=context.add_file(".safetensors", lambda path: save_file(tensors, path)),
            unet_strength=self.unet_strength,
            text_encoder_strength=self.text_encoder_strength,
        )
