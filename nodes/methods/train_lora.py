"""TrainLoRA."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes.diffusion.errors import InputError
from nodes.diffusion.settings import TrainingSettings
from nodes.diffusion.values import (
    CaptionedDataset,
    DiffusionModel,
    EmbeddingDataset,
    LatentDataset,
    LowRankAdapter,
    text_identity,
)


class TrainLoRA(TrainingSettings, Node):
    """Train the matrices that InjectLoRA attached, and return the model with them.

    Wire text embeddings when the UNet alone is trained, and the captions themselves when a text encoder is trained too.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("train network", "fine-tune", "training", "kohya")
    resumable: ClassVar[bool] = True
    not_in_key: ClassVar[frozenset[str]] = frozenset({"preview_every", "preview_prompt", "checkpoint_every"})

    def run(
        self,
        model: DiffusionModel,
        latents: LatentDataset,
        context: RunContext,
        embeddings: EmbeddingDataset | None = None,
        captions: CaptionedDataset | None = None,
    ) -> DiffusionModel:
        adapter = _untrained(model)
        texts = _texts(model, adapter, embeddings, captions)
        _check_pairs(model, latents, texts)
        from nodes.diffusion.checkpoints import Checkpoint
        from nodes.diffusion.devices import choose_device, training_precision
        from nodes.diffusion.loading import load
        from nodes.diffusion.lora import applied
        from nodes.diffusion.train import DenoisingTask, train

        device = choose_device(context.device)
        precision = training_precision(device, self.precision)
        loaded = load(model, context.locate(model.digest), device=device, precision="fp32" if device.type == "cpu" else precision)
        checkpoint = Checkpoint(context.progress_folder) if context.progress_folder else None
        with applied(model.adapters, loaded) as laid:
            task = DenoisingTask(loaded, self, latents, texts, model.clip_skip)
            report = self._reporter(context, task, model)
            trained = train(task, laid[-1], precision=precision, report=report, checkpoint=checkpoint)
        weights = context.add_file(".safetensors", lambda path: _save(trained, path))
        finished = replace(adapter, weights=weights, training=self._facts(model, latents, texts, precision))
        zero_terminal_snr = model.zero_terminal_snr or self.zero_terminal_snr
        return replace(model, adapters=(*model.adapters[:-1], finished), zero_terminal_snr=zero_terminal_snr)

    def _reporter(self, context: RunContext, task: Any, model: DiffusionModel) -> Callable[[Any], None]:
        """What happens after each step: numbers, validation, previews, and the chance to stop."""

        def report(done: Any) -> None:
            context.metric(done.step, loss=done.loss, learning_rate=done.learning_rate)
            context.progress(done.step, self.max_steps)
            last = done.step == self.max_steps
            if task.validation and (last or done.step % self.validation_every == 0):
                with done.trainer.weights_for_use(), done.trainer.autocast():
                    context.metric(done.step, validation_loss=task.validation_loss(context.stop_if_asked))
            if self.preview_every and self.preview_prompt.strip() and (last or done.step % self.preview_every == 0):
                with done.trainer.weights_for_use():
                    self._preview(done.step, task, model, context)

        return report

    def _preview(self, step: int, task: Any, model: DiffusionModel, context: RunContext) -> None:
        from nodes.diffusion.pictures import in_a_row, save_png
        from nodes.diffusion.sampling import sample

        prompts = [line.strip() for line in self.preview_prompt.splitlines() if line.strip()]
        pictures = sample(
            task.model,
            prompts,
            seeds=[self.seed] * len(prompts),
            clip_skip=model.clip_skip,
            zero_terminal_snr=model.zero_terminal_snr or self.zero_terminal_snr,
            on_step=lambda step: context.stop_if_asked(),
        )
        context.preview(step, context.add_file(".png", lambda path: save_png(in_a_row(pictures), path)))

    def _facts(self, model: DiffusionModel, latents: LatentDataset, texts: Any, precision: str) -> tuple[tuple[str, str], ...]:
        """The training in kohya's `ss_*` words."""
        captions = texts.captions if isinstance(texts, CaptionedDataset) else [item.captions for item in texts.items]
        tags = Counter(tag.strip() for variants in captions for tag in variants[0].split(","))
        sizes = [view.size for item in latents.items for view in item.views]
        facts = {
            "ss_learning_rate": self.learning_rate,
            "ss_max_train_steps": self.max_steps,
            "ss_steps": self.max_steps,
            "ss_batch_size_per_device": self.batch_size,
            "ss_gradient_accumulation_steps": self.gradient_accumulation_steps,
            "ss_total_batch_size": self.batch_size * self.gradient_accumulation_steps,
            "ss_num_train_images": sum(item.repeats for item in latents.items),
            "ss_optimizer": self.optimizer,
            "ss_lr_scheduler": self.lr_scheduler,
            "ss_lr_warmup_steps": self.lr_warmup_steps,
            "ss_max_grad_norm": self.max_grad_norm,
            "ss_mixed_precision": "no" if precision == "fp32" else precision,
            "ss_gradient_checkpointing": self.gradient_checkpointing,
            "ss_seed": self.seed,
            "ss_clip_skip": model.clip_skip + 1,
            "ss_resolution": "({}, {})".format(*max(sizes)),
            "ss_min_snr_gamma": self.snr_gamma or None,
            "ss_noise_offset": self.noise_offset or None,
            "ss_zero_terminal_snr": self.zero_terminal_snr,
            "ss_caption_dropout_rate": texts.caption_dropout,
            "ss_new_sd_model_hash": model.digest,
            "ss_sd_model_name": model.name,
            "ss_tag_frequency": json.dumps({"dataset": dict(tags.most_common(1000))}),
        }
        return tuple((name, str(value)) for name, value in facts.items())


def _untrained(model: DiffusionModel) -> LowRankAdapter:
    if not model.adapters or model.adapters[-1].weights is not None:
        raise InputError("this model has nothing to train.", field="model", remedy="Put InjectLoRA before this node.")
    if any(adapter.weights is None for adapter in model.adapters[:-1]):
        remedy = "Train the first before the second InjectLoRA."
        raise InputError("this model has several adapters that are not trained.", field="model", remedy=remedy)
    return model.adapters[-1]


def _texts(
    model: DiffusionModel,
    adapter: LowRankAdapter,
    embeddings: EmbeddingDataset | None,
    captions: CaptionedDataset | None,
) -> EmbeddingDataset | CaptionedDataset:
    """Choose what the text comes from; embeddings of a text encoder that is being trained would be stale."""
    if adapter.text_encoder_targets:
        if captions is None:
            remedy = "Wire CaptionDataset to `captions`: the text encoder is trained, so its embeddings change."
            raise InputError("the captions are missing.", field="captions", remedy=remedy)
        return captions
    if embeddings is None:
        raise InputError("the text embeddings are missing.", field="embeddings", remedy="Wire EncodeCaptions to it.")
    before = replace(model, adapters=model.adapters[:-1])
    if embeddings.text_digest != text_identity(before):
        remedy = "Wire EncodeCaptions to the same model, with the same clip_skip."
        raise InputError("these embeddings were made by another text encoder.", field="embeddings", remedy=remedy)
    return embeddings


def _check_pairs(model: DiffusionModel, latents: LatentDataset, texts: EmbeddingDataset | CaptionedDataset) -> None:
    if latents.vae_digest != model.vae_digest:
        remedy = "Wire EncodeLatents to the same model."
        raise InputError("these latents were made by another VAE.", field="latents", remedy=remedy)
    items = texts.pictures if isinstance(texts, CaptionedDataset) else texts.items
    if [item.name for item in items] != [item.name for item in latents.items]:
        field = "captions" if isinstance(texts, CaptionedDataset) else "embeddings"
        remedy = "Wire latents and captions from the same LoadImages."
        raise InputError("latents and captions are of different pictures.", field=field, remedy=remedy)


def _save(tensors: dict[str, Any], path: Any) -> None:
    from safetensors.torch import save_file

    save_file({name: tensors[name].contiguous() for name in sorted(tensors)}, path)
