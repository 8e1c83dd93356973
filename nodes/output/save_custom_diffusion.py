"""SaveCustomDiffusion."""

from pathlib import PurePath
from typing import ClassVar

from graph_runtime.context import Artifact, RunContext
from graph_runtime.node import FileName, Node, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_method
from nodes.diffusion.handles.adapters import TokenEmbedding, WeightChange
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.wired_models import refuse_bare, refuse_untrained


class SaveCustomDiffusion(Node):
    """Write a custom diffusion as diffusers does: keys and values in a .bin, and each new word in one of its own.

    Custom diffusion (.bin): diffusers reads it with `load_attn_procs(..., _pipeline=pipe)`, and without that changes nothing
    unsaid; not AUTOMATIC1111, ComfyUI and sd-scripts. For them save the whole model with SavePipeline or SaveCheckpoint and the
    words with SaveEmbedding.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("pytorch_custom_diffusion_weights.bin", "export delta")
    side_effects: ClassVar[bool] = True

    filename: FileName = "pytorch_custom_diffusion_weights.bin"
    """Name of the file of keys and values; the words are called the same with their own name behind."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])
        refuse_bare(wired["model"], "this model has no custom diffusion.", "Wire the model as TrainCustomDiffusion returns it.")

    def run(self, model: DiffusionModel, context: RunContext) -> tuple[Artifact, ...]:
        changes = [adapter for adapter in model.adapters if isinstance(adapter, WeightChange) and adapter.endings]
        words = [adapter for adapter in model.adapters if isinstance(adapter, TokenEmbedding)]
        if len(changes) != 1 or not words:
            remedy = "Wire the model as TrainCustomDiffusion or MergeConcepts returns it."
            raise InputError(f"{model.name} has no one custom diffusion applied to it.", field="model", remedy=remedy)
        for adapter in model.adapters:
            if adapter not in changes and adapter not in words:
                context.message(f"{adapter.label} is not in these files: save it as a file of its own.", "warning")
        if any(word.num_vectors != 1 for word in words) or len({word.plain_name for word in words}) < len(words):
            remedy = "Save them with SaveEmbedding."
            raise InputError("these words have several vectors, or would get one file name.", field="model", remedy=remedy)
        check_method(model.family, "custom diffusion file")

        stem = PurePath(self.filename).stem
        layers = diffusion.adapters.attention_layers(context.locate(model.digest))
        contents = {f"{stem}.bin": diffusion.adapters.processor_bytes(diffusion.adapters.tensors_of(changes[0]), layers)}
        for word in words:
            contents[f"{stem}-{word.plain_name}.bin"] = diffusion.adapters.token_bytes(
                word.placeholder_token, diffusion.adapters.word_vectors(word)[0][0]
            )
        return tuple(
            Artifact(name, context.add_file(".bin", lambda path, c=content: path.write_bytes(c)))
            for name, content in contents.items()
        )
