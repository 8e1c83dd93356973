"""TrainDreamArtist."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.migration import Migration
from graph_runtime.node import Known, Node, Wired
from nodes import diffusion
from nodes.diffusion.families.registry import check_known_method, check_method
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.handles.datasets import CaptionedDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.handles.wired_models import refuse_untrained
from nodes.methods.placeholders import Placeholder, check_placeholder, check_word
from nodes.methods.training import WATCHING, check_pairs, check_trained, train_untrained


class TrainDreamArtist(DenoisingSettings, Node):
    """Teach the model a new word and its opposite from one picture (DreamArtist, Dong et al. 2022).

    Prompts take the placeholder, negative prompts the placeholder with `-neg`, at about the guidance of the training.
    """

    display_name: ClassVar[str] = "Train DreamArtist"
    synonyms: ClassVar[tuple[str, ...]] = ("one shot", "negative embedding", "contrastive prompt tuning", "single image")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = WATCHING
    migrations: ClassVar[Mapping[int, Migration]] = {
        0: Migration(
            inputs={
                "placeholder": "placeholder_token",
                "initializer": "initializer_token",
                "vectors": "num_vectors",
                "negative_vectors": "num_negative_vectors",
            }
        )
    }

    placeholder_token: Placeholder = "<new>"
    """The new word, as captions and prompts write it; its opposite is called the same with `-neg` at the end."""
    initializer_token: Annotated[str, Field(min_length=1)] = "thing"
    """A word the model knows that comes close; both begin at its vector."""
    num_vectors: Annotated[int, Field(ge=1, le=64)] = 3
    """Vectors of the positive word."""
    num_negative_vectors: Annotated[int, Field(ge=1, le=64)] = 6
    """Vectors of the negative word; more than the positive one has is usual."""
    guidance_scale: Annotated[float, Field(ge=1, le=50)] = 4.0
    """Guidance of the predictions that are trained; with 1 the negative word learns nothing."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 1
    """Draws of the picture per forward pass; each is predicted twice."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 2.5e-3
    """Step size: 2.5e-3 to 5e-3 is usual."""
    weight_decay: Annotated[float, Field(ge=0, le=1, json_schema_extra={"group": "Optimizer"})] = 0.0
    """How strongly the vectors are drawn to zero; 0 is usual, as zero is no word."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "DreamArtist")

    def run(
        self, model: DiffusionModel, latents: LatentDataset, captions: CaptionedDataset, context: RunContext
    ) -> DiffusionModel:
        check_method(model.family, "DreamArtist")
        check_trained(model.adapters)
        check_pairs(model, latents, captions)
        captions = check_placeholder(self.placeholder_token, model, captions, context)
        check_word(self.placeholder_token, self.initializer_token, model, context)

        negative = f"{self.placeholder_token}-neg"

        def make_task(loaded: "diffusion.models.ActiveModel", settings: DenoisingSettings) -> diffusion.training.DenoisingTask:
            conditions_of = diffusion.training.with_negative(self.placeholder_token, negative)
            predict = diffusion.training.guided(self.guidance_scale)
            return diffusion.training.DenoisingTask(
                loaded, settings, latents, captions, conditions_of=conditions_of, predict=predict
            )

        words = self._words(negative)
        untrained = replace(model, adapters=(*model.adapters, *words))
        trained, _ = train_untrained(self, untrained, captions, context, make_task)
        return trained

    def _words(self, negative: str) -> tuple[TokenEmbedding, TokenEmbedding]:
        start: dict[str, Any] = {
            "initializer_token": self.initializer_token,
            "steps": self.max_steps,
            "seed": self.seed,
            "guidance_scale": self.guidance_scale,
        }
        return (
            TokenEmbedding(placeholder_token=self.placeholder_token, num_vectors=self.num_vectors, **start),
            TokenEmbedding(
                placeholder_token=negative, num_vectors=self.num_negative_vectors, spread=1e-3, negative=True, **start
            ),
        )
