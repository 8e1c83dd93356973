"""InvertCLIP."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import CaptionItem, EmbeddingDataset, ImageDataset, LatentDataset
from nodes.diffusion.handles.models import ImageVariationModel
from nodes.diffusion.handles.results import ImageEmbedding
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.methods.more_steps import checkpoint_of
from nodes.methods.reports import report_step
from nodes.methods.shown_pictures import embed_views, encode_views
from nodes.methods.training import settings_for

if TYPE_CHECKING:
    from torch import Tensor

    from nodes.diffusion.devices import Precision


class InvertedEmbedding(NamedTuple):
    """What was learned, and what it began with."""

    trained: ImageEmbedding
    mean: ImageEmbedding


class InvertCLIP(DenoisingSettings, Node):
    """Find the CLIP image embedding from which a base draws given pictures best; no weight is changed (CLIP inversion).

    It begins at the mean of the pictures' own embeddings, which is the second output: draw from both and compare.
    `fixed_noise_loss` among the numbers is the loss at noise and timesteps that are always the same.
    """

    display_name: ClassVar[str] = "Invert CLIP"
    synonyms: ClassVar[tuple[str, ...]] = ("CLIP inversion", "image embedding", "textual inversion for image variations")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = frozenset({"checkpoint_every", "validation_every"})
    # previews draw prompts, which this base does not understand
    preview_every: ClassVar[int] = 0  # pyright: ignore[reportIncompatibleVariableOverride]
    preview_prompt: ClassVar[str] = ""  # pyright: ignore[reportIncompatibleVariableOverride]

    vectors: Annotated[int, Field(ge=1, le=64)] = 1
    """Vectors that are trained: tokens of context that hold more detail. A base with class labels (unCLIP) takes exactly one."""
    pull: Annotated[float, Field(ge=0, le=1000)] = 0.0
    """How strongly the vectors are drawn to where they began (mean squared distance), against learning few pictures by heart."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 5e-3
    """Step size: 1e-3 to 1e-2 is usual."""
    weight_decay: Annotated[float, Field(ge=0, le=1, json_schema_extra={"group": "Optimizer"})] = 0.0
    """How strongly the vectors are drawn to zero; 0 is usual, as zero stands for no picture."""

    def run(self, model: ImageVariationModel, images: ImageDataset, context: RunContext) -> InvertedEmbedding:
        if model.conditioning == "unclip" and self.vectors != 1:
            message = "an unCLIP base takes one image embedding."
            raise InputError(message, field="vectors", remedy="Set it to 1, or use an image variation base.")

        device = diffusion.choose_device(context.device)
        precision = diffusion.training_precision(device, self.precision)
        with diffusion.families.variation_in_use(model, context.locate, device=device) as exact:
            files = embed_views(images, model.clip_digest, lambda: exact.embed, context)
            latents = encode_views(images, model.vae_digest, lambda: exact.model, context)
        arithmetic = "fp32" if device.type == "cpu" else precision
        with diffusion.families.variation_in_use(model, context.locate, device=device, precision=arithmetic) as base:
            mean, task = self._task(base, settings_for(self, model), latents, files)
            trained = self._trained(task, precision, context)
        return InvertedEmbedding(trained=_kept(trained, "trained", context), mean=_kept(mean[None], "mean", context))

    def _trained(self, task: "diffusion.training.InversionTask", precision: "Precision", context: RunContext) -> "Tensor":
        """Return the trained vectors [k, d], and report how much the similarity rose."""
        before = task.loss_at_start(context.stop_if_asked)
        checkpoint = checkpoint_of(self, context, precision)
        if checkpoint is None or checkpoint.is_new():  # a step before the reported ones would replace them
            context.metric(0, fixed_noise_loss=before)
        report = _reporter(self, task, context)
        trained = diffusion.training.train(
            task, {"image_embeds": task.vectors}, self, precision=precision, report=report, checkpoint=checkpoint
        )
        after = task.validation_loss(context.stop_if_asked)
        context.metric(self.max_steps, fixed_noise_loss=after)
        context.message(f"loss at fixed noise: {before:.4f} with the mean embedding, {after:.4f} with the trained one.")
        return trained["image_embeds"]

    def _task(
        self,
        base: "diffusion.families.ImageVariation",
        settings: DenoisingSettings,
        latents: LatentDataset,
        files: list[tuple[Path, ...]],
    ) -> tuple["Tensor", "diffusion.training.InversionTask"]:
        """The mean embedding [d] of all views, and the loss of vectors that begin there."""
        import torch
        from safetensors.torch import load_file

        mean = torch.stack([load_file(file)["hidden"][0] for own in files for file in own]).mean(dim=0)
        start = diffusion.training.first_vectors(mean, self.vectors, self.seed).to(base.model.device)
        own = tuple(CaptionItem(item.name, ("",), f[:1]) for item, f in zip(latents.items, files, strict=True))
        texts = EmbeddingDataset(own, empty=files[0][0], caption_dropout=0.0, text_digest="")
        vectors = torch.nn.Parameter(start.clone())
        return mean, diffusion.training.InversionTask(
            base, settings, latents, texts, vectors=vectors, start=start, pull=self.pull
        )


def _reporter(
    settings: DenoisingSettings, task: "diffusion.training.InversionTask", context: RunContext
) -> Callable[["diffusion.optimization.StepDone"], None]:
    """Return what happens after each step: numbers, and the chance to stop."""

    def report(done: "diffusion.optimization.StepDone") -> None:
        report_step(done, settings, context)
        if done.step % settings.validation_every == 0 and done.step < settings.max_steps:
            with done.trainer.weights_for_use():
                context.metric(done.step, fixed_noise_loss=task.validation_loss(context.stop_if_asked))

    return report


def _kept(image_embeds: "Tensor", label: str, context: RunContext) -> ImageEmbedding:
    from safetensors.torch import save_file

    tensors = {"image_embeds": image_embeds.float().cpu().contiguous()}
    file = context.add_file(".safetensors", lambda path: save_file(tensors, path))
    return ImageEmbedding(file=file, vectors=image_embeds.shape[0], width=image_embeds.shape[1], label=label)
