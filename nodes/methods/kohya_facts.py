"""A training in kohya's `ss_*` words, which other programs show."""

import json
from collections import Counter

from nodes.diffusion.handles.datasets import CaptionedDataset, EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.settings import DenoisingSettings


def kohya_facts(
    settings: DenoisingSettings,
    model: DiffusionModel,
    latents: LatentDataset,
    texts: EmbeddingDataset | CaptionedDataset,
    precision: str,
) -> tuple[tuple[str, str], ...]:
    """Return the settings and data of a training as (`ss_*` name, text)."""
    captions = texts.captions if isinstance(texts, CaptionedDataset) else [item.captions for item in texts.items]
    tags = Counter(tag.strip() for variants in captions for tag in variants[0].split(","))
    sizes = [view.size for item in latents.items for view in item.views]
    facts = {
        "ss_learning_rate": settings.learning_rate,
        "ss_max_train_steps": settings.max_steps,
        "ss_steps": settings.max_steps,
        "ss_batch_size_per_device": settings.batch_size,
        "ss_gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "ss_total_batch_size": settings.batch_size * settings.gradient_accumulation_steps,
        "ss_num_train_images": sum(item.repeats for item in latents.items),
        "ss_optimizer": settings.optimizer,
        "ss_lr_scheduler": settings.lr_scheduler,
        "ss_lr_warmup_steps": settings.lr_warmup_steps,
        "ss_max_grad_norm": settings.max_grad_norm,
        "ss_mixed_precision": "no" if precision == "fp32" else precision,
        "ss_gradient_checkpointing": settings.gradient_checkpointing,
        "ss_seed": settings.seed,
        "ss_clip_skip": model.clip_skip + 1,
        "ss_max_token_length": model.max_token_length if model.max_token_length > 75 else None,
        "ss_resolution": "({}, {})".format(*max(sizes)),
        "ss_min_snr_gamma": settings.snr_gamma or None,
        "ss_noise_offset": settings.noise_offset or None,
        "ss_zero_terminal_snr": settings.zero_terminal_snr,
        "ss_caption_dropout_rate": texts.caption_dropout,
        "ss_new_sd_model_hash": model.digest,
        "ss_sd_model_name": model.name,
        "ss_tag_frequency": json.dumps({"dataset": dict(tags.most_common(1000))}),
    }
    return tuple((name, str(value)) for name, value in facts.items())
