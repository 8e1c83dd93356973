"""TrainTI."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar

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
from nodes.methods.placeholders import Placeholder, check_placeholder, check_word, without_word
from nodes.methods.training import WATCHING, check_pairs, check_trained, train_untrained


class TrainTI(DenoisingSettings, Node):
    """Teach the model a new word from a few pictures, without changing a weight (textual inversion, Gal et al. 2022).

    The captions must hold the placeholder, such as `a photo of <cat>`. A word of that name that LoadEmbedding brought is
    trained on, with the vectors it has.
    """

    display_name: ClassVar[str] = "Train Textual Inversion"
    synonyms: ClassVar[tuple[str, ...]] = ("textual inversion", "embedding", "TI", "new token", "concept")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = WATCHING
    migrations: ClassVar[Mapping[int, Migration]] = {
        0: Migration(inputs={"placeholder": "placeholder_token", "initializer": "initializer_token", "vectors": "num_vectors"})
    }

    placeholder_token: Placeholder = "<new>"
    """The new word, as captions and prompts write it."""
    initializer_token: Annotated[str, Field(min_length=1)] = "thing"
    """A word the model knows that comes close; training begins at its vector."""
    num_vectors: Annotated[int, Field(ge=1, le=64)] = 4
    """Vectors the word is made of; more hold more detail and leave fewer of a prompt's 75 tokens."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 5e-3
    """Step size: 5e-3 is usual."""
    weight_decay: Annotated[float, Field(ge=0, le=1, json_schema_extra={"group": "Optimizer"})] = 0.0
    """How strongly the vectors are drawn to zero; 0 is usual, as zero is no word."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "textual inversion")

    def run(
        self, model: DiffusionModel, latents: LatentDataset, captions: CaptionedDataset, context: RunContext
    ) -> DiffusionModel:
        check_method(model.family, "textual inversion")
        check_trained(model.adapters)
        check_pairs(model, latents, captions)
        model, known = without_word(self.placeholder_token, model)
        captions = check_placeholder(self.placeholder_token, model, captions, context)

        word = self._to_go_on(known, context) if known else self._new(model, context)
        trained, _ = train_untrained(
            self,
            replace(model, adapters=(*model.adapters, word)),
            captions,
            context,
            lambda loaded, settings: diffusion.training.DenoisingTask(loaded, settings, latents, captions),
        )
        return trained

    def _new(self, model: DiffusionModel, context: RunContext) -> TokenEmbedding:
        check_word(self.placeholder_token, self.initializer_token, model, context)
        return TokenEmbedding(
            placeholder_token=self.placeholder_token,
            num_vectors=self.num_vectors,
            initializer_token=self.initializer_token,
            steps=self.max_steps,
        )

    def _to_go_on(self, word: TokenEmbedding, context: RunContext) -> TokenEmbedding:
        context.message(f"training goes on with the {word.num_vectors} vectors of {word.placeholder_token}.")
        return replace(word, weights=None, start=word.weights, steps=word.steps + self.max_steps)
