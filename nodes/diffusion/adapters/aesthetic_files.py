"""Aesthetic embeddings: computed from those of pictures, written and read as the bare tensor of other programs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.clip_folders import clip_folders, has_text_projection, text_config
from nodes.diffusion.formats.file_formats import is_safetensors
from nodes.diffusion.formats.pickles import read_pt
from nodes.diffusion.text.clip_text_embeddings import load_projected_encoder

REMEDY = "Choose a file that SaveAestheticEmbedding or AUTOMATIC1111's extension wrote."


def mean_embedding(pictures: Sequence[Sequence[Tensor]]) -> Tensor:
    """Return the mean [1, d] over pictures of the mean over each one's views [1, d], float32, not normalized."""
    views = [torch.stack([view.float() for view in own]).mean(dim=0) for own in pictures]
    return torch.stack(views).mean(dim=0)


def read_embedding(path: Path) -> Tensor:
    """Return the embedding [1, d] float32 in a .pt or .safetensors file; raise InputError when it holds something else.

    A pickle is opened with `weights_only`, so a file can carry no code.
    """
    content = _opened(path)
    if isinstance(content, dict) and len(content) == 1:
        content = next(iter(content.values()))
    if (
        not isinstance(content, Tensor)
        or not content.is_floating_point()
        or content.dim() not in (1, 2)
        or content.numel() != content.shape[-1]
    ):
        raise InputError(f"{path.name} holds no single vector.", field="file", remedy=REMEDY)
    embedding = content.detach().float().reshape(1, -1)
    if not embedding.isfinite().all() or not embedding.any():
        raise InputError(f"the vector in {path.name} has no direction.", field="file", remedy=REMEDY)
    return embedding


def _opened(path: Path) -> Any:
    if not is_safetensors(path):
        return read_pt(path, "an aesthetic embedding")
    try:
        return load_file(path)
    except Exception as error:  # the unpickler may raise any exception
        message = f"{path.name} cannot be read as an aesthetic embedding."
        raise InputError(message, field="file", remedy=REMEDY) from error


def projection_for(model: Path, clip: Path | None) -> tuple[Tensor | None, int]:
    """Return the text encoder's projection into CLIP's space, [d, width], and d; None when the encoder has its own.

    The projection is read from `clip`, whose text encoder must be the model's; raises InputError when there is none.
    """
    own = text_config(model / "text_encoder")
    if clip is None:
        if has_text_projection(model / "text_encoder"):
            return None, int(own.get("projection_dim", 512))
        remedy = "Name in clip the folder of the CLIP that the model was made with: openai/clip-vit-large-patch14 for SD 1.x."
        raise InputError(f"the text encoder of {model.name} cannot be compared with pictures.", field="clip", remedy=remedy)
    folders = clip_folders(clip)
    encoder = load_projected_encoder(folders, torch.device("cpu"))
    for name in ("hidden_size", "num_hidden_layers"):
        found = getattr(encoder.config, name)
        if found != own[name]:
            message = f"the text encoder of {clip.name} has {name} {found}, that of the model {own[name]}."
            raise InputError(message, field="clip", remedy="Name the CLIP that the model was made with.")
    weight: Tensor = encoder.text_projection.weight.detach().clone()
    return weight, weight.shape[0]
