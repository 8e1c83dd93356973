"""TrainImageVariation."""

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.image_variation.folders import VARIATION_PARTS, context_width, projection_width
from nodes.diffusion.families.registry import check_method
from nodes.diffusion.formats.single_file.header import is_single_file
from nodes.diffusion.formats.weight_files import identifying
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.datasets import CaptionItem, EmbeddingDataset, ImageDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel, ImageVariationModel
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.pictures.latent_views import latent_view
from nodes.methods.shown_pictures import Embed, embed_views
from nodes.methods.training import check_vae, train_untrained


class TrainImageVariation(DenoisingSettings, Node):
    """Make a base that draws variations of pictures from a text-to-image model: the base that CLIP inversion needs.

    The UNet is fine-tuned on pictures, each with its own CLIP image embedding as the one token of context instead of a
    caption. Many different pictures are needed: thousands for an embedding of any picture to be understood.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("image variations", "IP-Adapter", "CLIP image", "unCLIP", "reimagine")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = frozenset({"checkpoint_every", "validation_every"})
    # previews draw prompts, which this base does not understand
    preview_every: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    preview_prompt: ClassVar[str] = ""  # pyright: ignore[reportIncompatibleVariableOverride]

    clip: ModelReference = ""
    """Folder with `image_encoder` and `feature_extractor`; left empty, the model's own, as the bundled one has them."""
    weights: Literal["all", "cross-attention"] = "all"
    """What of the UNet is trained; cross-attention alone needs less memory and keeps more of how the model draws."""
    embedding_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of draws that train on zeros instead of the embedding, which guidance needs."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-5
    """Step size: 1e-5 is usual on Stable Diffusion, 3e-4 on the bundled model."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        if not self.clip:
            return None
        folder = files.resolve(self.clip)
        if not (folder / "image_encoder").is_dir() or not (folder / "feature_extractor").is_dir():
            remedy = "Name a folder that holds the folders image_encoder and feature_extractor."
            raise InputError(f"{self.clip!r} holds no CLIP image encoder.", field="clip", remedy=remedy)
        return files.digest_folder(self.clip, tuple(ending for ending in identifying(folder) if ending != ".txt"))

    def run(
        self, model: DiffusionModel, latents: LatentDataset, images: ImageDataset, context: RunContext
    ) -> ImageVariationModel:
        clip = context.fingerprint or model.digest
        _check_model(model, context.locate(model.digest), context.locate(clip))

        check_vae(model, latents)
        _check_views(latents, images)

        @cache
        def get_embed() -> Embed:
            folder = context.locate(clip)
            return diffusion.pictures.load_image_embedder(
                folder / "image_encoder", folder / "feature_extractor", diffusion.choose_device(context.device)
            )

        files = embed_views(images, clip, get_embed, context)
        embeddings = self._dataset(images, files, model, context)
        change = WeightChange(
            name="image variation", endings=diffusion.training.trained_names(context.locate(model.digest) / "unet", self.weights)
        )
        trained, _ = train_untrained(
            self,
            replace(model, adapters=(change,)),
            embeddings,
            context,
            lambda loaded, settings: diffusion.training.DenoisingTask(
                loaded, settings, latents, embeddings, conditions_of=diffusion.training.own_views
            ),
        )
        return ImageVariationModel(
            name=f"{model.name} variations",
            conditioning="image variation",
            prediction_type=model.prediction_type,
            resolution=model.resolution,
            embedding_width=context_width(context.locate(model.digest) / "unet"),
            parts=tuple(
                (part, clip if part in ("image_encoder", "feature_extractor") else model.digest) for part in VARIATION_PARTS
            ),
            clip_digest=clip,
            vae_digest=model.vae_digest,
            weights=trained.adapters[-1].weights,
            zero_terminal_snr=trained.zero_terminal_snr,
        )

    def _dataset(
        self, images: ImageDataset, files: list[tuple[Path, ...]], model: DiffusionModel, context: RunContext
    ) -> EmbeddingDataset:
        """The embeddings in the form of text embeddings of one token."""
        import torch
        from safetensors.torch import save_file

        zeros = {"hidden": torch.zeros(1, context_width(context.locate(model.digest) / "unet"))}
        return EmbeddingDataset(
            tuple(CaptionItem(p.name, ("",) * len(own), own) for p, own in zip(images.pictures, files, strict=True)),
            empty=context.add_file(".safetensors", lambda path: save_file(zeros, path)),
            caption_dropout=self.embedding_dropout,
            text_digest="",
        )


def _check_views(latents: LatentDataset, images: ImageDataset) -> None:
    """Raise InputError unless latents and pictures show the same views, of which each needs its own embedding."""
    wanted = [(p.name, [latent_view(p, v, Path()) for v in p.views]) for p in images.pictures]
    found = [(item.name, [replace(view, file=Path()) for view in item.views]) for item in latents.items]
    if wanted != found:
        remedy = "Wire both from the same LoadImages."
        raise InputError("latents and pictures are not of the same views.", field="latents", remedy=remedy)


def _check_model(model: DiffusionModel, folder: Path, clip: Path) -> None:
    """Raise InputError unless the model's UNet can be given one image embedding as its context."""
    if model.initial_seed is not None:
        remedy = "Write the trained model with SavePipeline, and wire LoadModel."
        raise InputError("this model is new: its weights are in no folder.", field="model", remedy=remedy)
    check_method(model.family, "image variation")
    if is_single_file(folder):
        remedy = "Write the model with SavePipeline, and load the folder."
        raise InputError("this model lies in one file; a base of variations is made of folders.", field="model", remedy=remedy)
    if model.adapters:
        remedy = "Wire the model as LoadModel returns it."
        raise InputError("this model has adapters.", field="model", remedy=remedy)
    if not (clip / "image_encoder").is_dir() or not (clip / "feature_extractor").is_dir():
        remedy = "Name a folder that holds image_encoder and feature_extractor."
        raise InputError("this model has no CLIP image encoder of its own.", field="clip", remedy=remedy)
    context, projection = context_width(folder / "unet"), projection_width(clip / "image_encoder")
    if context != projection:
        message = f"the image encoder gives embeddings of width {projection}, and the UNet's context is {context} wide."
        raise InputError(message, field="clip", remedy="SD 1.x takes CLIP ViT-L/14, SD 2.x OpenCLIP ViT-H/14.")
