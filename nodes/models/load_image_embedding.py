"""LoadImageEmbedding."""

import shutil
from pathlib import Path
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Node, OutsideFiles, WorkspaceFile
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import check_whole
from nodes.diffusion.handles.results import ImageEmbedding


class LoadImageEmbedding(Node):
    """Open CLIP image embeddings that SaveImageEmbedding wrote, to draw from them."""

    synonyms: ClassVar[tuple[str, ...]] = ("CLIP inversion", "embedding", "image embeds")

    file: WorkspaceFile
    """A safetensors file with `image_embeds` of n vectors."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        path = files.resolve(self.file)
        if not path.is_file():
            raise InputError(f"there is no file {self.file!r}.", field="file", remedy="Choose a file of SaveImageEmbedding.")
        return {"name": path.stem, "digest": files.digest_file(self.file)}

    def run(self, context: RunContext) -> ImageEmbedding:
        path = context.locate(context.fingerprint["digest"])
        vectors, width = _shape(path, self.file)
        copy = context.add_file(".safetensors", lambda new: shutil.copyfile(path, new))
        return ImageEmbedding(file=copy, vectors=vectors, width=width, label=context.fingerprint["name"])


def _shape(path: Path, name: str) -> tuple[int, int]:
    from safetensors.torch import load_file

    remedy = "Choose a file of SaveImageEmbedding."
    try:
        check_whole(path)
    except InputError as error:
        raise InputError(f"{name} is not a whole safetensors file.", field="file", remedy=remedy) from error
    embeds = load_file(path).get("image_embeds")
    if embeds is None or embeds.dim() != 2 or not embeds.is_floating_point() or not embeds.isfinite().all():
        raise InputError(f"{name} holds no usable image_embeds [n, d].", field="file", remedy=remedy)
    return embeds.shape[0], embeds.shape[1]
