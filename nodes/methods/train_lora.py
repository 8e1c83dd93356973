"""TrainLoRA."""

from dataclasses import replace
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Known, Node, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.datasets import CaptionedDataset, EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.noise_checks import check_known_noise
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.handles.wired_models import refuse_bare, untrained_lora
from nodes.methods.kohya_facts import kohya_facts
from nodes.methods.training import (
    WATCHING,
    check_pairs,
    check_texts_are_there,
    check_trained,
    choose_texts,
    train_untrained,
)

NOTHING_TO_TRAIN = "this model has nothing to train."
INJECT = "Put InjectLoRA before this node, or LoadLoRA to go on with a finished one."


class TrainLoRA(DenoisingSettings, Node):
    """Train the matrices that InjectLoRA attached, or go on with those of LoadLoRA, and return the model with them.

    What was loaded keeps its ranks and alphas, whatever program made it (kohya's `network_weights`). Wire text embeddings when
    the UNet alone is trained, and the captions themselves when a text encoder is trained too.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("train network", "fine-tune", "training", "kohya")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = WATCHING
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("embeddings", "captions"),)

    def check(self, wired: Wired) -> None:
        refuse_bare(wired["model"], NOTHING_TO_TRAIN, INJECT)
        injected = untrained_lora(wired["model"])
        if injected:
            changes_text = bool(getattr(injected, "text_encoder", False))
            check_texts_are_there(wired["embeddings"], wired["captions"], text_changes=changes_text)

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
        before, adapter = lora_to_train(model, context)
        model = replace(model, adapters=(*before.adapters, adapter))
        texts = choose_texts(before, embeddings, captions, text_changes=bool(adapter.text_encoder_targets))
        check_pairs(model, latents, texts)

        trained, precision = train_untrained(
            self,
            model,
            texts,
            context,
            lambda loaded, settings: diffusion.training.DenoisingTask(loaded, settings, latents, texts),
        )
        finished = replace(trained.adapters[-1], training=kohya_facts(self, model, latents, texts, precision))
        return replace(trained, adapters=(*trained.adapters[:-1], finished))


def lora_to_train(model: DiffusionModel, context: RunContext) -> tuple[DiffusionModel, LowRankAdapter]:
    """Return the model without what is trained, and that: the LoRA of InjectLoRA, else the last one, to be trained on.

    Raises InputError when there is none, or others wait beside it.
    """
    loras = [number for number, adapter in enumerate(model.adapters) if isinstance(adapter, LowRankAdapter)]
    new = [number for number in loras if model.adapters[number].weights is None]
    if not loras:
        raise InputError(NOTHING_TO_TRAIN, field="model", remedy=INJECT)
    number = (new or loras)[-1]
    others, lora = (*model.adapters[:number], *model.adapters[number + 1 :]), model.adapters[number]
    assert isinstance(lora, LowRankAdapter)
    check_trained(others)
    if lora.weights is not None:
        lora = _to_go_on(lora, context)
    return replace(model, adapters=others), lora


def _to_go_on(lora: LowRankAdapter, context: RunContext) -> LowRankAdapter:
    if lora.algorithm == "dora" and (lora.unet_strength, lora.text_encoder_strength) != (1.0, 1.0):
        remedy = "Set both strengths of LoadLoRA to 1, and choose the strength where the file is used."
        raise InputError("a DoRA's file knows no strength, so it is trained with strength 1.", field="model", remedy=remedy)
    context.message(f"training goes on with {lora.label}, of rank {lora.rank}.")
    return replace(lora, weights=None, start=lora.weights)
