"""EncodeLatents."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.datasets import ImageDataset, LatentDataset, LatentItem, Picture, View
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.pictures.latent_views import latent_view

if TYPE_CHECKING:
    from nodes.diffusion.devices import Precision

Wanted = tuple[str, Picture, View]


class EncodeLatents(Node):
    """Turn pictures into the VAE's latent distributions, once per picture and view, kept for every later training."""

    synonyms: ClassVar[tuple[str, ...]] = ("VAE encode", "cache latents")

    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the VAE; `auto` is bf16 on CUDA cards that multiply it and fp32 elsewhere. SDXL's own overflows in fp16."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    """Pictures encoded at once; less needs less memory, and on a GPU no more are than its free memory holds. On CPUs the
    latents are the same bytes for every choice."""

    not_in_key: ClassVar[frozenset[str]] = frozenset({"batch_size"})

    def run(self, model: DiffusionModel, images: ImageDataset, context: RunContext) -> LatentDataset:
        precision = diffusion.encoding_precision(diffusion.choose_device(context.device), self.precision)
        keys = {(p.name, view): self._key(model, images, p, view, precision) for p in images.pictures for view in p.views}
        kept = {key: context.find_item(key) for key in keys.values()}
        wanted = {keys[p.name, view]: (p, view) for p in images.pictures for view in p.views}
        missing = [(key, p, view) for key, (p, view) in wanted.items() if kept[key] is None]
        done, total = 0, len(missing)
        for group in _same_size(missing, self.batch_size):
            kept |= self._encode(model, images, group, precision, context)
            done += len(group)
            context.progress(done, total)
        items = tuple(
            LatentItem(p.name, tuple(latent_view(p, view, kept[keys[p.name, view]]["file"]) for view in p.views), p.repeats)
            for p in images.pictures
        )
        return LatentDataset(items, model.vae_digest)

    def _key(self, model: DiffusionModel, images: ImageDataset, picture: Picture, view: View, precision: "Precision") -> str:
        """Everything that the latents depend on."""
        identity = [self.version, picture.digest, asdict(view), images.background, model.vae_digest, precision]
        return "latents:" + hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    def _encode(
        self, model: DiffusionModel, images: ImageDataset, group: list[Wanted], precision: "Precision", context: RunContext
    ) -> dict[str, dict[str, Path]]:
        """Encode pictures of one size; return what was kept, by key."""
        import torch
        from safetensors.torch import save_file

        shown = [
            diffusion.pictures.render(diffusion.pictures.picture_of(p, context.open, images.background), view, images.background)
            for _, p, view in group
        ]
        pictures = torch.stack([diffusion.pictures.as_tensor(picture) for picture in shown])
        changes = [adapter for adapter in model.adapters if isinstance(adapter, WeightChange) and adapter.vae]
        used = replace(model, adapters=tuple(changes))
        device = diffusion.choose_device(context.device)
        with diffusion.adapters.model_in_use(used, context.locate, device=device, precision=precision) as loaded:
            means, stds = diffusion.models.encode_pictures(
                diffusion.families.latent_space(loaded), pictures, [p.name for _, p, _ in group]
            )
        kept: dict[str, dict[str, Path]] = {}
        for (key, _, _), mean, std in zip(group, means, stds, strict=True):
            tensors = {"mean": mean.contiguous(), "std": std.contiguous()}
            kept[key] = {"file": context.add_file(".safetensors", lambda path, t=tensors: save_file(t, path))}
            context.keep_item(key, kept[key])
        return kept


def _same_size(wanted: list[Wanted], batch_size: int) -> Iterator[list[Wanted]]:
    """Yield groups of at most `batch_size` whose views have one size."""
    by_size: dict[tuple[int, int], list[Wanted]] = {}
    for item in wanted:
        by_size.setdefault(item[2].size, []).append(item)
    for group in by_size.values():
        yield from (group[start : start + batch_size] for start in range(0, len(group), batch_size))
