"""EncodeCaptions."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import facts as family_facts, token_limit
from nodes.diffusion.handles.datasets import CaptionedDataset, CaptionItem, EmbeddingDataset
from nodes.diffusion.handles.models import DiffusionModel, text_identity
from nodes.diffusion.handles.wired_models import untrained_lora
from nodes.diffusion.text.chunks import cut_warning
from nodes.diffusion.text.prompt_syntax import Emphasis

BATCH = 8
MUCH = 1e9
"""Bytes of embeddings from which their size is told."""


class EncodeCaptions(Node):
    """Turn captions into text embeddings, once per caption, kept for every later training."""

    synonyms: ClassVar[tuple[str, ...]] = ("CLIP text encode", "prompt", "text encoder", "conditioning")
    version: ClassVar[int] = 2

    def check(self, wired: Wired) -> None:
        if getattr(untrained_lora(wired["model"]), "text_encoder", False):
            raise _going_stale()

    def run(self, model: DiffusionModel, captions: CaptionedDataset, context: RunContext) -> EmbeddingDataset:
        if any(adapter.text_identity() and adapter.weights is None for adapter in model.adapters):
            raise _going_stale()
        identity = text_identity(model)
        wanted = list(dict.fromkeys(["", *(text for variants in captions.captions for text in variants)]))
        keys = {text: _key(identity, text, captions.emphasis) for text in wanted}
        kept = {
            text: context.find_item(keys[text]) or _kept_before(identity, text, captions.emphasis, context) for text in wanted
        }
        missing = [text for text in wanted if kept[text] is None]
        for start in range(0, len(missing), BATCH):
            kept |= self._encode(model, missing[start : start + BATCH], keys, captions.emphasis, context)
            if not start:
                _say_size([kept[text]["file"] for text in missing[:BATCH]], len(missing), context)
            context.progress(min(start + BATCH, len(missing)), len(missing))
        if cut := {text: kept[text]["cut"] for text in wanted if kept[text]["cut"]}:
            context.message(cut_warning("captions", cut, token_limit(model.family, model.max_token_length)), "warning")
        files = {text: kept[text]["file"] for text in wanted}
        items = tuple(
            CaptionItem(picture.name, variants, tuple(files[text] for text in variants))
            for picture, variants in zip(captions.pictures, captions.captions, strict=True)
        )
        return EmbeddingDataset(items, files[""], captions.caption_dropout, identity, captions.emphasis)

    @staticmethod
    def _encode(
        model: DiffusionModel, texts: list[str], keys: dict[str, str], emphasis: Emphasis, context: RunContext
    ) -> dict[str, Any]:
        """Encode some captions; return what was kept, by caption."""
        import torch
        from safetensors.torch import save_file

        device = diffusion.choose_device(context.device)
        precision = family_facts(model.family).embedding_precision
        with (
            torch.no_grad(),
            diffusion.adapters.model_in_use(model, context.locate, device=device, precision=precision) as loaded,
        ):
            # one fixed batch shape: matrix products of another height differ in their last bits
            padded = texts + [""] * (BATCH - len(texts))
            encoded = diffusion.families.encode_prompts(loaded, padded, emphasis=emphasis)
            cut = diffusion.families.cut_prompts(loaded, texts, emphasis)
        kept: dict[str, Any] = {}
        for number, text in enumerate(texts):
            row, dtype = encoded.row(number), diffusion.DTYPES[precision]
            tensors = {name: tensor.to("cpu", dtype).clone() for name, tensor in row.items()}
            file = context.add_file(".safetensors", lambda path, t=tensors: save_file(t, path))
            kept[text] = {"file": file, "cut": cut.get(text, 0)}
            context.keep_item(keys[text], kept[text])
        return kept


def _key(identity: str, text: str, emphasis: Emphasis) -> str:
    return "text embedding:" + _digest([EncodeCaptions.version, identity, text, *([] if emphasis == "none" else [emphasis])])


def _kept_before(identity: str, text: str, emphasis: Emphasis, context: RunContext) -> Any:
    """Return what earlier versions kept under a name that captions had too: the same bytes."""
    return context.find_item("caption:" + _digest([EncodeCaptions.version, identity, text])) if emphasis == "none" else None


def _say_size(files: list[Path], count: int, context: RunContext) -> None:
    """Tell how much the embeddings of so many captions take, of which some are written, if it is much."""
    each = sum(file.stat().st_size for file in files) / len(files)
    if each * count > MUCH:
        context.message(f"{count} captions of about {each / 1e6:.1f} MB take {each * count / 1e9:.1f} GB in the cache.")


def _digest(facts: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _going_stale() -> InputError:
    message = "this model is about to train its text encoder, so its embeddings would go stale."
    return InputError(message, field="model", remedy="Wire the captions to the training node instead.")
