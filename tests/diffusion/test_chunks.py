"""Long prompts in chunks, against plain transformers, and where the chunks break."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.chunks import cut_warning, in_chunks
from nodes.diffusion.text.encoding import cut_prompts, cut_words, encode_prompts, word_features
from nodes.diffusion.text.placeholder_tokens import token_ids, token_table
from tests.models import fresh_model, make_model_folder, set_handle

FAMILIES = ["sd1", "sd2", "sdxl"]
LONG = "abcdefghij" * 10
WORD = TokenEmbedding(placeholder_token="<new>", num_vectors=4, initializer_token="b")
PROMPTS = [LONG, "", "short", "x" * 75, "y" * 151, "z" * 300]


def opened(folder: Path, family: Any, max_token_length: int) -> ActiveModel:
    model = fresh_model(make_model_folder(folder, family))
    set_handle(model, max_token_length=max_token_length)
    return model


def plainly(model: ActiveModel, prompt: str, chunks: int, clip_skip: int) -> tuple[Tensor, Tensor | None]:
    """The prompt through each encoder, chunk after chunk by itself, with nothing of ours but the parts."""
    wide, pooled = [], None
    encoder: Any
    for tokenizer, encoder in zip(model.tokenizers, model.text_encoders, strict=True):
        ids, states = tokenizer(prompt, add_special_tokens=False)["input_ids"], []
        for start in range(0, 75 * chunks, 75):
            own = [tokenizer.bos_token_id, *ids[start : start + 75], tokenizer.eos_token_id]
            tokens = torch.tensor([own + [tokenizer.pad_token_id] * (77 - len(own))])
            output = encoder(tokens, output_hidden_states=True)
            inner = getattr(encoder, "text_model", encoder)
            if model.info.family == "sdxl":
                states.append(output.hidden_states[-2 - clip_skip][0])
                if start == 0 and hasattr(encoder, "text_projection"):
                    pooled = encoder.text_projection(inner.final_layer_norm(output.hidden_states[-1])[0, len(own) - 1])
            else:
                states.append(inner.final_layer_norm(output.hidden_states[-1 - clip_skip])[0])
        wide.append(torch.cat(states))
    return torch.cat(wide, dim=1), pooled


@pytest.mark.parametrize("clip_skip", [0, 1])
@pytest.mark.parametrize("max_token_length", [75, 150, 225])
@pytest.mark.parametrize("family", FAMILIES)
def test_chunks_equal_plain_transformers(tmp_path: Path, family: str, max_token_length: int, clip_skip: int) -> None:
    model, chunks = opened(tmp_path / "m", family, max_token_length), max_token_length // 75
    set_handle(model, clip_skip=clip_skip)
    with torch.no_grad():
        found = encode_prompts(model, PROMPTS)
        assert found["hidden"].shape == (len(PROMPTS), 77 * chunks, 32), "short and long ones, so that they can guide each other"
        for number, prompt in enumerate(PROMPTS):
            hidden, pooled = plainly(model, prompt, chunks, clip_skip)
            assert torch.allclose(found["hidden"][number], hidden, atol=1e-5)
            if pooled is None:
                assert found.get("pooled") is None
            else:
                assert found.get("pooled") is not None
                assert torch.allclose(found.get("pooled")[number], pooled, atol=1e-5)
    assert cut_prompts(model, PROMPTS) == {p: len(p) - max_token_length for p in PROMPTS if len(p) > max_token_length}


@pytest.mark.parametrize("family", FAMILIES)
def test_short_prompts_begin_as_they_would_alone_and_end_empty(tmp_path: Path, family: str) -> None:
    model = opened(tmp_path / "m", family, 225)
    with torch.no_grad():
        found = encode_prompts(model, ["short", "other"])
        set_handle(model, max_token_length=75)
        alone, empty = encode_prompts(model, ["short", "other"]), encode_prompts(model, [""])
    assert torch.allclose(found["hidden"][:, :77], alone["hidden"], atol=1e-6)
    for start in (77, 154):
        assert torch.allclose(found["hidden"][:, start : start + 77], empty["hidden"].expand(2, -1, -1), atol=1e-6)
    if found.get("pooled") is not None and alone.get("pooled") is not None:
        assert torch.allclose(found.get("pooled"), alone.get("pooled"), atol=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_word_of_several_vectors_is_not_split_over_the_border(tmp_path: Path, family: str) -> None:
    """It begins the second chunk, as the same letters would behind a first chunk that ends where it was."""
    model = opened(tmp_path / "m", family, 150)
    text = "a" * 73 + " <new> c"
    with torch.no_grad(), apply_adapters([WORD], model):
        found = encode_prompts(model, [text])
        set_handle(model, max_token_length=75)
        first, second = encode_prompts(model, ["a" * 73]), encode_prompts(model, ["<new> c"])
        assert cut_words(model, text) == "<new>"
        set_handle(model, max_token_length=150)
        assert cut_words(model, text) == ""
        assert cut_prompts(model, [text]) == {}
    assert torch.allclose(found["hidden"][:, :77], first["hidden"], atol=1e-6)
    assert torch.allclose(found["hidden"][:, 77:], second["hidden"], atol=1e-6)


def test_gradients_reach_a_word_in_the_second_chunk(tmp_path: Path) -> None:
    model = opened(tmp_path / "m", "sd1", 150)
    with apply_adapters([WORD], model) as applied:
        vectors = applied[0]["text_encoder_0"].requires_grad_(True)
        hidden = encode_prompts(model, ["a" * 80 + " <new>"])["hidden"]
        hidden[:, 77:].square().sum().backward()
    assert vectors.grad is not None
    assert (vectors.grad.abs().sum(dim=1) > 0).all()
    assert token_table(model.text_encoders[0]).weight.grad is None


def test_features_of_words_are_those_of_their_places(tmp_path: Path) -> None:
    model = opened(tmp_path / "m", "sd1", 150)
    text = "a" * 73 + " <new> c"
    with torch.no_grad(), apply_adapters([WORD], model):
        hidden = encode_prompts(model, [text])["hidden"][0]
        assert torch.equal(word_features(model, [text], from_word="<new>"), hidden[78:84])
        whole = word_features(model, [text])
        assert len(whole) == len(token_ids(text, model.tokenizers[0], model.placeholders)) + 1
        assert torch.equal(whole[:73], hidden[1:74])


@pytest.mark.parametrize(
    ("sizes", "count", "chunks", "cut"),
    [
        ([1, 1, 1, 1], 2, ((0, 1, 2), (3,)), ()),
        ([1, 1, 2, 1], 2, ((0, 1), (2, 3, 4)), ()),
        ([2, 2, 2], 2, ((0, 1), (2, 3, 4)), (5,)),
        ([2, 2], 1, ((0, 1, 2),), (3,)),
        ([1, 5], 2, ((0, 1, 2), (3, 4, 5)), ()),
        ([1, 5], 3, ((0, 1, 2), (3, 4, 5), ()), ()),
        ([1, 2, 1], 2, ((0, 1, 2), (3,)), ()),
        ([], 3, ((), (), ()), ()),
    ],
    ids=["plain", "moved", "last full", "one chunk", "longer than a chunk", "padded", "exactly full", "empty"],
)
def test_where_chunks_of_three_break(sizes: list[int], count: int, chunks: Any, cut: Any) -> None:
    tokens = iter(range(sum(sizes)))
    found = in_chunks([[next(tokens) for _ in range(size)] for size in sizes], 3, count)
    assert (found.ids, found.cut) == (chunks, cut)


def test_the_warning_names_how_much_is_cut() -> None:
    told = cut_warning("captions", {"a" * 100: 25, "b": 3}, 75)
    assert told.startswith(f"2 captions are too long and were cut at 75 tokens, such as {'a' * 80!r} by 25.")
    assert "max_token_length" in told
    assert "max_token_length" not in cut_warning("captions", {"a": 1}, 225)
