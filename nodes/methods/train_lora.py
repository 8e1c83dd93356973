"""TrainLoRA."""

from dataclasses import replace
from typing import ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Wired
from nodes.diffusion.adapters import LowRankAdapter
from nodes.diffusion.errors import InputError
from nodes.diffusion.settings import DenoisingSettings
from nodes.diffusion.sources import refuse_bare, untrained_lora
from nodes.diffusion.values import CaptionedDataset, DiffusionModel, EmbeddingDataset, LatentDataset
from nodes.methods.kohya_facts import kohya_facts
from nodes.methods.training import (
    WATCHING,
    check_pairs,
    check_texts_are_there,
    check_trained,
    choose_texts,
    train_untrained,
)

NOTHING_TO_TRAIN, INJECT = "this model has nothing to train.", "Put InjectLoRA before this node."


class TrainLoRA(DenoisingSettings, Node):
    """Train the matrices that InjectLoRA attached, and return the model with them.

    Wire text embeddings when the UNet alone is trained, and the captions themselves when a text encoder is trained too.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("train network", "fine-tune", "training", "kohya")
    resumable: ClassVar[bool] = True
    version: ClassVar[int] = 2
    not_in_key: ClassVar[frozenset[str]] = WATCHING
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("embeddings", "captions"),)

    def check(self, wired: Wired) -> None:
        refuse_bare(wired["model"], NOTHING_TO_TRAIN, INJECT)
        injected = untrained_lora(wired["model"])
        if injected:
            changes_text = bool(getattr(injected, "text_encoder", False))
            check_texts_are_there(wired["embeddings"], wired["captions"], text_changes=changes_text)

    def run(
        self,
        model: DiffusionModel,
        latents: LatentDataset,
        context: RunContext,
        embeddings: EmbeddingDataset | None = None,
        captions: CaptionedDataset | None = None,
    ) -> DiffusionModel:
        adapter = lora_to_train(model)
        before = replace(model, adapters=model.adapters[:-1])
        texts = choose_texts(before, embeddings, captions, text_changes=bool(adapter.text_encoder_targets))
        check_pairs(model, latents, texts)
        from nodes.diffusion.train import DenoisingTask

        trained, precision = train_untrained(
            self,
            model,
            texts,
            context,
            lambda loaded, settings: DenoisingTask(loaded, settings, latents, texts, model.clip_skip),
        )
        finished = replace(trained.adapters[-1], training=kohya_facts(self, model, latents, texts, precision))
        return replace(trained, adapters=(*trained.adapters[:-1], finished))


def lora_to_train(model: DiffusionModel) -> LowRankAdapter:
    """Return the LoRA that InjectLoRA attached last; raise InputError when there is none, or others wait under it."""
    adapter = model.adapters[-1] if model.adapters else None
    if not isinstance(adapter, LowRankAdapter) or adapter.weights is not None:
        raise InputError(NOTHING_TO_TRAIN, field="model", remedy=INJECT)
    check_trained(model.adapters[:-1])
    return adapter
