"""Placeholders of new words: how they may be written, and that captions use them."""

from dataclasses import replace
from typing import Annotated

from pydantic import AfterValidator

from graph_runtime.context import RunContext
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.handles.datasets import CaptionedDataset
from nodes.diffusion.handles.models import DiffusionModel


def _is_one_word(text: str) -> str:
    if not text or text != text.strip() or len(text.split()) != 1 or "," in text:
        raise ValueError("a placeholder is one word without spaces or commas, such as <cat>")
    return text


Placeholder = Annotated[str, AfterValidator(_is_one_word)]


def check_placeholder(
    placeholder: str, model: DiffusionModel, captions: CaptionedDataset, context: RunContext
) -> CaptionedDataset:
    """Return the captions without dropout, which would leave the word nothing to learn from.

    Raises InputError when the model has such a word already, or a caption does not hold it.
    """

    taken = [adapter for adapter in model.adapters if isinstance(adapter, TokenEmbedding)]
    if any(adapter.placeholder_token.lower() == placeholder.lower() for adapter in taken):
        message = f"the model has an embedding {placeholder!r} already."
        raise InputError(message, field="placeholder_token", remedy="Choose another placeholder.")
    without = [
        caption for variants in captions.captions for caption in variants if not diffusion.text.holds_word(caption, placeholder)
    ]
    if without:
        remedy = f"Write it into the template of CaptionDataset, such as: a photo of {placeholder}"
        message = f"{len(without)} captions do not hold the word {placeholder!r}, such as {without[0][:80]!r}."
        raise InputError(message, field="captions", remedy=remedy)
    if captions.caption_dropout:
        context.message("captions are not dropped here: without its word a picture teaches the word nothing.")
    return replace(captions, caption_dropout=0.0)


def without_word(placeholder: str, model: DiffusionModel) -> tuple[DiffusionModel, TokenEmbedding | None]:
    """Return the model without the embedding of a name, and that embedding, if it has one."""
    found = [a for a in model.adapters if isinstance(a, TokenEmbedding) and a.placeholder_token.lower() == placeholder.lower()]
    return replace(model, adapters=tuple(a for a in model.adapters if a not in found)), found[0] if found else None


def check_word(placeholder: str, initializer: str, model: DiffusionModel, context: RunContext) -> None:
    """Raise InputError when the placeholder is a known word, or the initializer is not one token; loads tokenizers alone."""

    plain, device = replace(model, adapters=()), diffusion.choose_device(context.device)
    with diffusion.adapters.model_in_use(plain, context.locate, device=device) as loaded:
        diffusion.text.check_new(placeholder, loaded)
        for tokenizer in loaded.tokenizers:
            diffusion.text.initial_token(initializer, tokenizer)
