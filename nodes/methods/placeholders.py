"""Placeholders of new words: how they may be written, and that captions use them."""

from typing import Annotated

from pydantic import AfterValidator

from graph_runtime.context import RunContext
from nodes.diffusion.adapters import TokenEmbedding
from nodes.diffusion.errors import InputError
from nodes.diffusion.values import CaptionedDataset, DiffusionModel


def _is_one_word(text: str) -> str:
    if not text or text != text.strip() or len(text.split()) != 1 or "," in text:
        raise ValueError("a placeholder is one word without spaces or commas, such as <cat>")
    return text


Placeholder = Annotated[str, AfterValidator(_is_one_word)]


def check_placeholder(placeholder: str, model: DiffusionModel, captions: CaptionedDataset, field: str = "captions") -> None:
    """Raise InputError when the model has such a word already, or no caption holds it."""
    taken = [adapter for adapter in model.adapters if isinstance(adapter, TokenEmbedding)]
    if any(adapter.placeholder.lower() == placeholder.lower() for adapter in taken):
        message = f"the model has an embedding {placeholder!r} already."
        raise InputError(message, field="placeholder", remedy="Choose another placeholder.")
    without = [variants[0] for variants in captions.captions if not any(placeholder.lower() in v.lower() for v in variants)]
    if len(without) == len(captions.captions):
        remedy = f"Write it into the template of CaptionDataset, such as: a photo of {placeholder}"
        raise InputError(f"no caption holds the placeholder {placeholder!r}.", field=field, remedy=remedy)


def check_word(placeholder: str, initializer: str, model: DiffusionModel, context: RunContext) -> None:
    """Raise InputError when the placeholder is a known word, or the initializer is not one token; loads tokenizers alone."""
    from nodes.diffusion.devices import choose_device
    from nodes.diffusion.loading import load
    from nodes.diffusion.words import check_new, initial_token

    loaded = load(model, context.locate(model.digest), device=choose_device(context.device))
    check_new(placeholder, loaded)
    for tokenizer in loaded.tokenizers:
        initial_token(initializer, tokenizer)
