"""TrainDreamBooth."""

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Known, Node, Wired
from nodes import diffusion
from nodes.diffusion.families.registry import check_method
from nodes.diffusion.handles.adapters import LowRankAdapter, WeightChange
from nodes.diffusion.handles.datasets import CaptionedDataset, EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.noise_checks import check_known_noise
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.handles.wired_models import BARE, untrained_lora
from nodes.methods.kohya_facts import kohya_facts
from nodes.methods.training import (
    WATCHING,
    Texts,
    check_class_latents,
    check_pairs,
    check_texts_are_there,
    check_trained,
    choose_texts,
    train_untrained,
)


class TrainDreamBooth(DenoisingSettings, Node):
    """Teach the model one subject under a rare word, while pictures of its class keep the class as it was.

    Trains the matrices of InjectLoRA when the model comes from there, and else all weights of the UNet. Captions of the
    subject say both, such as `a photo of sks dog`; class pictures and their captions come from GenerateClassImages.
    """

    display_name: ClassVar[str] = "Train DreamBooth"
    synonyms: ClassVar[tuple[str, ...]] = ("subject", "prior preservation", "sks", "instance prompt")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = WATCHING
    one_of: ClassVar[tuple[tuple[str, ...], ...]] = (("embeddings", "captions"),)

    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 400
    """Optimizer steps; 400 to 1200 are usual."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 2
    """Pictures of the subject per forward pass; as many of the class come in a second one."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 5e-6
    """Step size: 5e-6 is usual for all weights and 1e-4 for a LoRA; 1e-4 and 1e-3 on the bundled model."""
    prior_loss_weight: Annotated[float, Field(ge=0, le=100)] = 1.0
    """How much the class counts beside the subject; 0 trains without class pictures."""
    text_encoder: bool = False
    """Train the text encoders' weights too; for a LoRA InjectLoRA decides."""

    def check(self, wired: Wired) -> None:
        (source,) = wired["model"]
        lora = untrained_lora([source])
        if lora is None and type(source).__name__ not in BARE:
            return  # what lies over the model decides what is trained
        changes_text = bool(getattr(lora, "text_encoder", False)) if lora else self.text_encoder
        check_texts_are_there(wired["embeddings"], wired["captions"], text_changes=changes_text)
        if self.prior_loss_weight:
            check_class_latents(wired["class_latents"])
            check_texts_are_there(wired["class_embeddings"], wired["class_captions"], text_changes=changes_text, prefix="class_")

    def check_known(self, known: Known) -> None:
        check_known_noise(self, known["model"])

    def run(
        self,
        model: DiffusionModel,
        latents: LatentDataset,
        context: RunContext,
        embeddings: EmbeddingDataset | None = None,
        captions: CaptionedDataset | None = None,
        class_latents: LatentDataset | None = None,
        class_embeddings: EmbeddingDataset | None = None,
        class_captions: CaptionedDataset | None = None,
    ) -> DiffusionModel:
        whole = self._with_untrained(model)
        adapter = whole.adapters[-1]
        before = replace(whole, adapters=whole.adapters[:-1])
        changes_text = bool(adapter.text_identity())
        texts = choose_texts(before, embeddings, captions, text_changes=changes_text)
        check_pairs(model, latents, texts)
        prior = None
        if self.prior_loss_weight:
            check_class_latents(class_latents)
            assert class_latents
            class_texts = choose_texts(before, class_embeddings, class_captions, text_changes=changes_text, prefix="class_")
            check_pairs(model, class_latents, class_texts, prefix="class_")
            prior = (class_latents, class_texts)
        trained, precision = train_untrained(
            self, whole, texts, context, lambda loaded, settings: self._task(loaded, settings, model, latents, texts, prior)
        )
        last = trained.adapters[-1]
        if isinstance(last, LowRankAdapter):
            last = replace(last, training=kohya_facts(self, model, latents, texts, precision))
        return replace(trained, adapters=(*trained.adapters[:-1], last))

    def _with_untrained(self, model: DiffusionModel) -> DiffusionModel:
        """The model with what is to be trained as its last adapter."""
        check_method(model.family, "DreamBooth")
        if model.adapters and isinstance(model.adapters[-1], LowRankAdapter) and model.adapters[-1].weights is None:
            check_trained(model.adapters[:-1])
            return model
        check_trained(model.adapters)
        change = WeightChange(name="DreamBooth", text_encoder=self.text_encoder, clip_skip=model.clip_skip)
        return replace(model, adapters=(*model.adapters, change))

    def _task(
        self,
        loaded: "diffusion.models.ActiveModel",
        settings: DenoisingSettings,
        model: DiffusionModel,
        latents: LatentDataset,
        texts: Texts,
        prior: tuple[LatentDataset, Texts] | None,
    ) -> Any:
        instance = diffusion.training.DenoisingTask(loaded, settings, latents, texts)
        if prior is None:
            return instance
        return diffusion.training.PriorPreservation(
            instance, diffusion.training.class_task(loaded, settings, *prior), self.prior_loss_weight
        )
