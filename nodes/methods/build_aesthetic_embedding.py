"""BuildAestheticEmbedding."""

from functools import cache
from typing import Any, ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.clip_folders import REMEDY, check_clip_is_stored, clip_folders, clip_reference
from nodes.diffusion.formats.weight_files import identifying
from nodes.diffusion.handles.datasets import ImageDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.results import AestheticEmbedding
from nodes.methods.shown_pictures import embed_views


class BuildAestheticEmbedding(Node):
    """Sum up the look of some pictures: the mean of their CLIP image embeddings (Gallego 2022).

    Nothing is trained. Fifty to a hundred pictures of one look are usual; each is seen once, and remembered.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("aesthetic gradient", "CLIP image", "style vector")

    clip: ModelReference = ""
    """Folder of a CLIP model, or of a diffusion model with `image_encoder`; left empty, the wired model's own.
    It must be the CLIP whose text encoder will draw: ViT-L/14 for Stable Diffusion 1.x."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        if not self.clip:
            return None
        folder = files.resolve(clip_reference(self.clip))
        clip_folders(folder)
        return files.digest_folder(clip_reference(self.clip), identifying(folder))

    def check(self, wired: Wired) -> None:
        if not self.clip and not wired["model"]:
            raise InputError("there is no CLIP to look with.", field="clip", remedy=f"Wire a model, or: {REMEDY}")

    def run(self, images: ImageDataset, context: RunContext, model: DiffusionModel | None = None) -> AestheticEmbedding:
        if model and not context.fingerprint:
            check_clip_is_stored(model)
        clip = context.fingerprint or (model and model.digest)
        if not clip:
            raise InputError("there is no CLIP to look with.", field="clip", remedy=f"Wire a model, or: {REMEDY}")
        folders = clip_folders(context.locate(clip))
        from safetensors.torch import load_file, save_file

        @cache
        def get_embed() -> Any:
            return diffusion.pictures.load_image_embedder(
                folders.image_encoder, folders.feature_extractor, diffusion.choose_device(context.device)
            )

        files = embed_views(images, clip, get_embed, context)
        embedding = diffusion.adapters.mean_embedding([[load_file(file)["hidden"] for file in views] for views in files])
        tensors = {"aesthetic_embedding": embedding}
        file = context.add_file(".safetensors", lambda path: save_file(tensors, path))
        return AestheticEmbedding(file, embedding.shape[1])
