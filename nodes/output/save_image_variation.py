"""SaveImageVariation."""

from typing import TYPE_CHECKING, ClassVar, Literal

from graph_runtime.context import METADATA_KEY, Artifact, RunContext
from graph_runtime.node import FileName, Node, with_suffix
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.models import ImageVariationModel

if TYPE_CHECKING:
    from torch import Tensor


class SaveImageVariation(Node):
    """Write the UNet of a base that draws variations of pictures, whole, with the workflow that made it inside.

    LoadImageVariation reads the file. In a diffusers folder it is `unet/diffusion_pytorch_model.safetensors`.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("save UNet", "export image variation", "save model")
    side_effects: ClassVar[bool] = True

    filename: FileName = "image-variation.safetensors"
    """Name of the file."""
    precision: Literal["fp16", "bf16", "fp32"] = "fp16"
    """Numbers in the file; fp16 halves its size."""

    def run(self, model: ImageVariationModel, context: RunContext) -> tuple[Artifact, ...]:
        import torch

        dtype = diffusion.DTYPES[self.precision]
        with diffusion.families.variation_in_use(model, context.locate, device=torch.device("cpu")) as base:
            tensors = {name: tensor.to(dtype).contiguous() for name, tensor in base.model.unet.state_dict().items()}
        _check_finite(tensors)
        facts = {"zero_terminal_snr": str(model.zero_terminal_snr).lower()}
        metadata = {"format": "pt", **facts, METADATA_KEY: context.provenance.text()}
        content = diffusion.formats.safetensors_bytes(tensors, metadata, diffusion.formats.tensor_bytes(tensors))
        name = with_suffix(self.filename, ".safetensors")
        return (Artifact(name, context.add_file(".safetensors", lambda path: path.write_bytes(content))),)


def _check_finite(tensors: dict[str, "Tensor"]) -> None:
    bad = [name for name, tensor in tensors.items() if not tensor.isfinite().all()]
    if bad:
        remedy = "Save as fp32 or bf16, or train with a lower learning_rate."
        raise InputError(f"{bad[0]} holds numbers that are not finite.", field="precision", remedy=remedy)
