"""TrainHypernet."""

from dataclasses import replace
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from graph_runtime.context import RunContext
from graph_runtime.node import Known, Node, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_known_method, check_method
from nodes.diffusion.handles.adapters import Hypernetwork, checked_structure
from nodes.diffusion.handles.datasets import EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.handles.wired_models import refuse_untrained
from nodes.methods.training import WATCHING, check_pairs, check_trained, choose_texts, train_untrained


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in text.split(",")) if text.strip() else ()


def _structure(text: str) -> str:
    checked_structure(_numbers(text))
    return text


def _shares(text: str) -> str:
    if not all(0 <= share < 1 for share in _numbers(text)):
        raise ValueError("shares are at least 0 and below 1")
    return text


class TrainHypernet(DenoisingSettings, Node):
    """Teach a style to small nets that change what attention makes keys and values from (a hypernetwork).

    The nets fit the widths of the model, whatever it is; none of its weights changes. A hypernetwork that LoadHypernetwork laid
    over the model is trained on, with the structure it has.
    """

    display_name: ClassVar[str] = "Train Hypernetwork"
    synonyms: ClassVar[tuple[str, ...]] = ("hypernetwork", "hypernet", "style", "NovelAI", "A1111")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = WATCHING

    layer_structure: Annotated[str, AfterValidator(_structure)] = "1, 2, 1"
    """Widths of the layers as multiples of the context's; begins and ends with 1. More and wider layers learn more."""
    activation_func: Literal["linear", "relu", "leakyrelu", "elu", "swish", "tanh", "sigmoid", "softsign", "mish"] = "linear"
    """What stands between the layers; `linear` is nothing, `mish`, `swish` and `softsign` are usual for styles."""
    is_layer_norm: bool = False
    """Put a layer norm behind each layer; then also set activate_output, as ComfyUI takes it for set."""
    activate_output: bool = False
    """Put the activation behind the last layer too."""
    dropout_structure: Annotated[str, AfterValidator(_shares)] = ""
    """Share of numbers that training drops behind each layer, as long as layer_structure: `0, 0.3, 0`. Empty drops none, and
    should stay so for ComfyUI, which goes on dropping when it draws."""
    weight_initialization: Literal["Normal", "XavierUniform", "XavierNormal", "KaimingUniform", "KaimingNormal"] = "Normal"
    """First values; with the four others the last layer begins near zero, since the model would be lost at once."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 5e-5
    """Step size: 5e-6 to 5e-5 is usual on Stable Diffusion, 3e-3 on the bundled model."""
    weight_decay: Annotated[float, Field(ge=0, le=1, json_schema_extra={"group": "Optimizer"})] = 0.0
    """How strongly the nets are drawn to zero, which is to say to no effect."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])
        self._untrained()

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "hypernetwork")

    def run(
        self, model: DiffusionModel, latents: LatentDataset, embeddings: EmbeddingDataset, context: RunContext
    ) -> DiffusionModel:
        check_method(model.family, "hypernetwork")
        check_trained(model.adapters)
        texts = choose_texts(model, embeddings, None, text_changes=False)
        check_pairs(model, latents, texts)
        known = [adapter for adapter in model.adapters if isinstance(adapter, Hypernetwork)]
        others = tuple(adapter for adapter in model.adapters if not known or adapter is not known[-1])
        hypernetwork = self._to_go_on(known[-1], context) if known else self._untrained()

        trained, _ = train_untrained(
            self,
            replace(model, adapters=(*others, hypernetwork)),
            texts,
            context,
            lambda loaded, settings: diffusion.training.DenoisingTask(loaded, settings, latents, texts),
        )
        return trained

    def _to_go_on(self, known: Hypernetwork, context: RunContext) -> Hypernetwork:
        structure = ", ".join(f"{multiple:g}" for multiple in known.layer_structure)
        context.message(f"training goes on with {known.name} at strength 1; its layer structure is {structure}.")
        steps = known.steps + self.max_steps
        return replace(known, weights=None, start=known.weights, strength=1.0, seed=self.seed, steps=steps)

    def _untrained(self) -> Hypernetwork:
        structure = _numbers(self.layer_structure)
        dropout = _numbers(self.dropout_structure) or (0.0,) * len(structure)
        if len(dropout) != len(structure) or dropout[0] or dropout[-1]:
            message = f"{len(structure)} numbers are wanted, of which the first and the last are 0."
            raise InputError(message, field="dropout_structure", remedy="Such as 0, 0.3, 0 for 1, 2, 1; or leave it empty.")
        return Hypernetwork(
            layer_structure=structure,
            activation_func=self.activation_func,
            is_layer_norm=self.is_layer_norm,
            dropout_structure=dropout,
            weight_initialization=self.weight_initialization,
            activate_output=self.activate_output,
            seed=self.seed,
            steps=self.max_steps,
        )
