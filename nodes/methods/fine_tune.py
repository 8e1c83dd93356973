"""FineTune."""

from dataclasses import replace
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Known, Node, Wired
from nodes import diffusion
from nodes.diffusion.families.registry import check_method
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.datasets import CaptionedDataset, EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.noise_checks import check_known_noise
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.handles.wired_models import refuse_untrained
from nodes.methods.training import (
    WATCHING,
    check_pairs,
    check_texts_are_there,
    check_trained,
    choose_texts,
    train_untrained,
)


class FineTune(DenoisingSettings, Node):
    """Train all weights of the UNet, and if wanted of the text encoders, on many captioned pictures.

    Wire text embeddings when the UNet alone is trained, and the captions themselves when text encoders are trained too.
    Caption dropout is set in CaptionDataset, the running average of the weights here (`ema_decay`).
    """

    synonyms: ClassVar[tuple[str, ...]] = ("full training", "train UNet", "finetune", "checkpoint training")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = WATCHING
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("embeddings", "captions"),)

    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-5
    """Step size: 1e-5 to 5e-6 is usual on Stable Diffusion, 1e-4 on the bundled model."""
    text_encoder: bool = False
    """Train the text encoders too."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])
        check_texts_are_there(wired["embeddings"], wired["captions"], text_changes=self.text_encoder)

    def check_known(self, known: Known) -> None:
        check_known_noise(self, known["model"])

    def run(
        self,
        model: DiffusionModel,
        latents: LatentDataset,
        context: RunContext,
        embeddings: EmbeddingDataset | None = None,
        captions: CaptionedDataset | None = None,
    ) -> DiffusionModel:
        check_method(model.family, "fine-tuning")
        check_trained(model.adapters)
        texts = choose_texts(model, embeddings, captions, text_changes=self.text_encoder)
        check_pairs(model, latents, texts)

        change = WeightChange(name="fine-tuned", text_encoder=self.text_encoder, clip_skip=model.clip_skip)
        trained, _ = train_untrained(
            self,
            replace(model, adapters=(*model.adapters, change)),
            texts,
            context,
            lambda loaded, settings: diffusion.training.DenoisingTask(loaded, settings, latents, texts),
        )
        return trained
