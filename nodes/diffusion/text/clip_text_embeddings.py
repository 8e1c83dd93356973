"""Texts to CLIP embeddings, comparable with those of pictures (Radford et al. 2021, 2.3)."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.clip_folders import ClipFolders, has_text_projection
from nodes.diffusion.models.loading import load_part


def load_projected_encoder(clip: ClipFolders, device: torch.device) -> CLIPTextModelWithProjection:
    """Return the text encoder of a CLIP in float32; raise InputError when its features are not comparable with pictures."""
    if not has_text_projection(clip.text_encoder):
        message = f"the text encoder in {clip.text_encoder.parent.name} has no projection to compare text with pictures."
        raise InputError(message, field="clip", remedy="Name the folder of a whole CLIP model of transformers.")
    return load_part(CLIPTextModelWithProjection, clip.text_encoder, device, dtype=torch.float32)


def load_text_embedder(clip: ClipFolders, device: torch.device) -> Callable[[str], Tensor]:
    """Return a function from a text to its projected embedding [d], not normalized; long texts are cut."""
    encoder = load_projected_encoder(clip, device)
    tokenizer: Any = CLIPTokenizer.from_pretrained(clip.tokenizer, local_files_only=True)
    length: int = encoder.config.max_position_embeddings

    def embed(text: str) -> Tensor:
        ids = tokenizer([text], padding="max_length", max_length=length, truncation=True, return_tensors="pt").input_ids
        with torch.no_grad():
            return encoder(ids.to(device)).text_embeds[0]

    return embed
