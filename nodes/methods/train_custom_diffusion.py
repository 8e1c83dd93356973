"""TrainCustomDiffusion."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.migration import Migration
from graph_runtime.node import Known, Node, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_known_method, check_method
from nodes.diffusion.handles.adapters import KEYS_AND_VALUES, TokenEmbedding, WeightChange
from nodes.diffusion.handles.datasets import CaptionedDataset, EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.handles.wired_models import refuse_untrained
from nodes.methods.placeholders import Placeholder, check_placeholder, check_word
from nodes.methods.training import (
    WATCHING,
    check_class_latents,
    check_pairs,
    check_texts_are_there,
    check_trained,
    choose_texts,
    train_untrained,
)


class TrainCustomDiffusion(DenoisingSettings, Node):
    """Teach a concept by the keys and values of cross-attention and a new word (custom diffusion, Kumari et al. 2023).

    A file of some percent of the model, and concepts trained apart can be merged. Captions hold the placeholder, such as
    `photo of a <new1> cat`; class pictures and their captions keep the class as it was.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("cross-attention", "multi-concept", "modifier token", "delta")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = WATCHING
    migrations: ClassVar[Mapping[int, Migration]] = {
        0: Migration(inputs={"placeholder": "placeholder_token", "initializer": "initializer_token"})
    }

    placeholder_token: Placeholder = "<new1>"
    """The new word, as captions and prompts write it, usually before the word of the class."""
    initializer_token: Annotated[str, Field(min_length=1)] = "thing"
    """The word whose vector it begins with; a rare one is usual."""
    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Optimizer steps; 250 to 500 are usual, 750 and more for faces."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 2
    """Pictures of the concept per forward pass; as many of the class come in a second one."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 2e-5
    """Step size: 1e-5 times the batch size is usual, 1e-3 on the bundled model."""
    prior_loss_weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    """How much the class counts beside the concept; 0 trains without class pictures."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])
        if self.prior_loss_weight:
            check_class_latents(wired["class_latents"])
            check_texts_are_there(wired["class_embeddings"], None, text_changes=False, prefix="class_")

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "custom diffusion")

    def run(
        self,
        model: DiffusionModel,
        latents: LatentDataset,
        captions: CaptionedDataset,
        context: RunContext,
        class_latents: LatentDataset | None = None,
        class_embeddings: EmbeddingDataset | None = None,
    ) -> DiffusionModel:
        check_method(model.family, "custom diffusion")
        check_trained(model.adapters)
        check_pairs(model, latents, captions)
        captions = check_placeholder(self.placeholder_token, model, captions, context)
        prior = self._prior(model, class_latents, class_embeddings) if self.prior_loss_weight else None
        check_word(self.placeholder_token, self.initializer_token, model, context)

        def make_task(loaded: "diffusion.models.ActiveModel", settings: DenoisingSettings) -> "diffusion.training.Task":
            concept = diffusion.training.DenoisingTask(loaded, settings, latents, captions, caption_of=_smaller)
            if prior is None:
                return concept
            return diffusion.training.PriorPreservation(
                concept, diffusion.training.class_task(loaded, settings, *prior), self.prior_loss_weight
            )

        change = WeightChange(name="custom diffusion", endings=KEYS_AND_VALUES, detach_start=True)
        word = TokenEmbedding(
            placeholder_token=self.placeholder_token,
            num_vectors=1,
            initializer_token=self.initializer_token,
            steps=self.max_steps,
        )
        untrained = replace(model, adapters=(*model.adapters, change, word))
        trained, _ = train_untrained(self, untrained, captions, context, make_task)
        return trained

    def _prior(
        self, model: DiffusionModel, latents: LatentDataset | None, embeddings: EmbeddingDataset | None
    ) -> tuple[LatentDataset, Any]:
        check_class_latents(latents)
        assert latents
        texts = choose_texts(model, embeddings, None, text_changes=False, prefix="class_")
        check_pairs(model, latents, texts, prefix="class_")
        assert isinstance(texts, EmbeddingDataset)

        if any(diffusion.text.holds_word(caption, self.placeholder_token) for item in texts.items for caption in item.captions):
            message = f"a caption of the class holds the placeholder {self.placeholder_token!r}."
            raise InputError(message, field="class_embeddings", remedy="Describe the class without it.")
        return latents, texts


def _smaller(caption: str, draw: "diffusion.training.Draw") -> str:
    """Say of a picture that is shown smaller that it is (Kumari et al. 2023, 3.1); an empty caption stays empty."""
    return f"very small {caption}" if caption and draw.view.valid else caption
