"""CLIP image embeddings and latents of each view of a picture, computed once and cached for later runs."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from graph_runtime.context import RunContext
from nodes import diffusion
from nodes.diffusion.handles.datasets import ImageDataset, LatentDataset, LatentItem, Picture
from nodes.diffusion.pictures.latent_views import latent_view

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

Embed = Callable[["Image"], "Tensor"]
"""From an RGB picture to its embedding [d]."""


def embed_views(
    images: ImageDataset, identity: str, get_embed: Callable[[], Embed], context: RunContext
) -> list[tuple[Path, ...]]:
    """Return for each picture the files of its views' CLIP image embeddings: `hidden` [1, d].

    `identity` names the image encoder; `get_embed` loads it, and is called only when something is not kept yet.
    """

    def compute(picture: "Image") -> dict[str, "Tensor"]:
        return {"hidden": get_embed()(picture)[None].cpu().contiguous()}

    return _computed("clip image 2", images, identity, compute, context)


def encode_views(
    images: ImageDataset, identity: str, get_model: Callable[[], "diffusion.models.ActiveModel"], context: RunContext
) -> LatentDataset:
    """Return the latents of all views; `identity` names the VAE, and `get_model` loads its model when it is needed."""

    def compute(picture: "Image") -> dict[str, "Tensor"]:
        space = diffusion.families.latent_space(get_model())
        mean, std = diffusion.models.encode_pictures(space, diffusion.pictures.as_tensor(picture)[None], ["a picture"])
        return {"mean": mean[0].contiguous(), "std": std[0].contiguous()}

    files = _computed("variation latents 2", images, identity, compute, context)
    items = [
        LatentItem(
            p.name,
            tuple(latent_view(p, view, file) for file, view in zip(own, p.views, strict=True)),
            p.repeats,
        )
        for p, own in zip(images.pictures, files, strict=True)
    ]
    return LatentDataset(tuple(items), identity)


def _computed(
    purpose: str, images: ImageDataset, identity: str, compute: Callable[["Image"], dict[str, "Tensor"]], context: RunContext
) -> list[tuple[Path, ...]]:
    """For each picture a file for each of its views, made now if no run has kept it."""
    from safetensors.torch import save_file

    found: list[tuple[Path, ...]] = []
    for picture in images.pictures:
        files: list[Path] = []
        for view in picture.views:
            facts = [picture.digest, asdict(view), images.background, identity]
            key = f"{purpose}:" + hashlib.sha256(json.dumps(facts).encode()).hexdigest()
            kept = context.find_item(key)
            if kept is None:
                opened = diffusion.pictures.picture_of(picture, context.open, images.background)
                tensors = compute(diffusion.pictures.render(opened, view, images.background))
                kept = {"file": context.add_file(".safetensors", lambda path, t=tensors: save_file(t, path))}
                context.keep_item(key, kept)
            files.append(kept["file"])
            context.stop_if_asked()
        found.append(tuple(files))
    return found


def repeated(images: ImageDataset, held: set[int]) -> list[int]:
    """Return the numbers of the pictures to train on, each as often as its folder says (`<repeats>_<name>`)."""
    return [number for number, picture in enumerate(images.pictures) for _ in range(picture.repeats) if number not in held]


def read_views(images: ImageDataset, context: RunContext) -> list[Callable[[], "Tensor"]]:
    """Return for each picture what reads its first view: [3, h, w] in -1..1, of the same bytes at every call."""
    more = sum(len(picture.views) - 1 for picture in images.pictures)
    if more:
        context.message(f"of each picture only the first view is shown: {more} crops or mirrored ones are left out.", "warning")

    def read(picture: Picture) -> "Tensor":
        opened = diffusion.pictures.picture_of(picture, context.open, images.background)
        return diffusion.pictures.as_tensor(diffusion.pictures.render(opened, picture.views[0], images.background))

    return [partial(read, picture) for picture in images.pictures]
