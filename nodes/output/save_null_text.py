"""SaveNullText."""

from typing import ClassVar

from graph_runtime.context import METADATA_KEY, Artifact, RunContext
from graph_runtime.node import FileName, Node, with_suffix
from nodes import diffusion
from nodes.diffusion.handles.results import NullTextInversion


class SaveNullText(Node):
    """Write a null-text inversion as one safetensors file, with the workflow that made it inside; LoadNullText reads it.

    It holds `latent` [1, c, h, w], the noise, and `uncond` [T, tokens, d], the noisiest timestep's embedding first.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("save inversion", "export embedding")
    side_effects: ClassVar[bool] = True

    filename: FileName = "null-text.safetensors"
    """Name of the file."""
    ddim_latents: bool = True
    """Add `ddim_latents` [T + 1, c, h, w], the way from the picture to the noise; without it the file is smaller."""

    def run(self, inversion: NullTextInversion, context: RunContext) -> tuple[Artifact, ...]:
        from safetensors.torch import load_file

        tensors = {**load_file(inversion.file), "uncond": diffusion.sampling.read_uncond(inversion)}
        if not self.ddim_latents:
            tensors.pop("ddim_latents", None)
        metadata = {**diffusion.sampling.metadata_of(inversion), METADATA_KEY: context.provenance.text()}
        content = diffusion.formats.safetensors_bytes(tensors, metadata, diffusion.formats.tensor_bytes(tensors))
        name = with_suffix(self.filename, ".safetensors")
        return (Artifact(name, context.add_file(".safetensors", lambda path: path.write_bytes(content))),)
