"""SampleVariation."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import ImageDataset
from nodes.diffusion.handles.models import ImageVariationModel
from nodes.diffusion.handles.results import GeneratedImage, ImageEmbedding, ImageSet

Row = tuple[str, Any]
"""A label and its image embeddings [k, d]."""


class SampleVariation(Node):
    """Draw pictures from CLIP image embeddings, and variations of given pictures: one row each, from the same noise."""

    synonyms: ClassVar[tuple[str, ...]] = ("image variations", "unCLIP", "reimagine", "KSampler", "img2img")
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("embeddings", "images"),)

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses the first noise; each further picture of a row takes the next number."""
    images_per_row: Annotated[int, Field(ge=1, le=64)] = 4
    """Pictures drawn from each embedding."""
    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] = 20
    """Denoising steps."""
    guidance_scale: Annotated[float, Field(ge=1, le=50)] = 3.0
    """How strictly the embedding is followed; 1 turns guidance off."""
    noise_level: Annotated[int, Field(ge=0, le=999)] = 0
    """Noise on the embedding, for unCLIP bases alone: more varies the pictures more."""
    sampler: Literal["ddim", "euler", "euler ancestral", "dpm++ 2m"] = "dpm++ 2m"
    """How the noise is taken away."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the model; `auto` is half precision on CUDA cards, of the kind that they are fast at, and fp32 elsewhere."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    """Pictures drawn at once; less needs less memory. On a GPU no more are than its free memory holds."""

    def run(
        self,
        model: ImageVariationModel,
        context: RunContext,
        embeddings: list[ImageEmbedding] = [],  # noqa: B006 (a wire's list; never changed)
        images: ImageDataset | None = None,
    ) -> ImageSet:
        _check(model, embeddings, images)

        device = diffusion.choose_device(context.device)
        precision = diffusion.drawing_precision(device, self.precision)
        with diffusion.families.variation_in_use(model, context.locate, device=device, precision=precision) as base:
            rows = [*_given(embeddings), *(_seen(images, base, context) if images else [])]
            return self._rows(base, rows, context)

    def _rows(self, base: "diffusion.families.ImageVariation", rows: list[Row], context: RunContext) -> ImageSet:
        seeds = [self.seed + n for n in range(self.images_per_row)]
        batches = [(row, seeds[n : n + self.batch_size]) for row in rows for n in range(0, len(seeds), self.batch_size)]
        total = len(batches) * self.num_inference_steps
        drawn: list[GeneratedImage] = []
        for number, ((label, embeds), own) in enumerate(batches):
            done = number * self.num_inference_steps
            pictures = self._draw(base, embeds, own, lambda step, done=done: context.progress(done + step, total))
            drawn += [_kept(picture, label, seed, context) for picture, seed in zip(pictures, own, strict=True)]
        return ImageSet(tuple(drawn), columns=len(seeds))

    def _draw(self, base: "diffusion.families.ImageVariation", embeds: Any, seeds: list[int], on_step: Any) -> Any:
        return diffusion.sampling.sample_variations(
            base,
            embeds,
            seeds=seeds,
            noise_level=self.noise_level,
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            scheduler=diffusion.sampling.make_scheduler(base.model, self.sampler),
            on_step=on_step,
        )


def _check(model: ImageVariationModel, embeddings: list[ImageEmbedding], images: ImageDataset | None) -> None:
    if not embeddings and images is None:
        remedy = "Wire InvertCLIP or LoadImageEmbedding to `embeddings`, or LoadImages to `images`."
        raise InputError("there is nothing to draw from.", field="embeddings", remedy=remedy)
    for embedding in embeddings:
        if embedding.width != model.embedding_width:
            message = f"the embedding {embedding.label!r} is {embedding.width} wide; this base takes {model.embedding_width}."
            raise InputError(message, field="embeddings", remedy="Use it with the base that it was made for.")
        if model.conditioning == "unclip" and embedding.vectors != 1:
            message = f"the embedding {embedding.label!r} has {embedding.vectors} vectors; an unCLIP base takes one."
            raise InputError(message, field="embeddings", remedy="Use an image variation base.")


def _given(embeddings: list[ImageEmbedding]) -> list[Row]:
    from safetensors.torch import load_file

    return [(embedding.label, load_file(embedding.file)["image_embeds"]) for embedding in embeddings]


def _seen(images: ImageDataset, base: "diffusion.families.ImageVariation", context: RunContext) -> list[Row]:
    """Each picture's own embedding [1, d], of its first view."""

    rows: list[Row] = []
    for picture in images.pictures:
        opened = diffusion.pictures.picture_of(picture, context.open, images.background)
        rows.append((picture.name, base.embed(diffusion.pictures.render(opened, picture.views[0]))[None]))
        context.stop_if_asked()
    return rows


def _kept(picture: Any, label: str, seed: int, context: RunContext) -> GeneratedImage:

    return GeneratedImage(context.add_file(".png", lambda path: diffusion.pictures.save_png(picture, path)), label, "", seed)
