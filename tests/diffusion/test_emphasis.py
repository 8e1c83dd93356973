"""Weights on what text encoders make of prompts, against the programs' formulas written out."""

from pathlib import Path
from typing import Any

import pytest
import torch

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.emphasis import emphasized
from nodes.diffusion.text.encoding import cut_prompts, encode_prompts
from nodes.diffusion.text.prompt_syntax import Emphasis
from tests.models import fresh_model, make_model_folder, set_handle

STATES = torch.tensor([[[[1.0, 2.0], [3.0, 6.0]], [[1.0, 1.0], [1.0, 1.0]]]])
WEIGHTS = torch.tensor([[[1.0, 2.0], [1.0, 1.0]]])


def never() -> torch.Tensor:
    raise AssertionError("the empty prompt is not needed")


def test_the_three_formulas() -> None:
    """Worked out by hand: the first chunk's mean is 3, after multiplying 21 / 4; the second chunk has no weights."""
    second = [[1.0, 1.0], [1.0, 1.0]]
    assert emphasized(STATES, WEIGHTS, "kohya", never).tolist() == [[[[1, 2], [6, 12]], second]]
    a1111 = emphasized(STATES, WEIGHTS, "a1111", never)
    assert torch.allclose(a1111[0, 0], torch.tensor([[4 / 7, 8 / 7], [24 / 7, 48 / 7]]))
    assert a1111[0, 1].tolist() == second
    empty = torch.tensor([[9.0, 9.0], [1.0, 2.0]])
    assert emphasized(STATES, WEIGHTS, "comfyui", lambda: empty).tolist() == [[[[1, 2], [5, 10]], second]]


@pytest.mark.parametrize("emphasis", ["a1111", "comfyui", "kohya"])
def test_without_weights_the_states_are_the_same(emphasis: Emphasis) -> None:
    assert emphasized(STATES, torch.ones(1, 2, 2), emphasis, never) is STATES


def opened(folder: Path, family: Any, max_token_length: int = 75) -> ActiveModel:
    model = fresh_model(make_model_folder(folder, family))
    set_handle(model, max_token_length=max_token_length)
    return model


@torch.no_grad()
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_weights_act_on_their_tokens_in_each_encoder(tmp_path: Path, family: str) -> None:
    model = opened(tmp_path / "m", family, 150)
    plain, empty = encode_prompts(model, ["a b c", ""])["hidden"]
    weighted = {how: encode_prompts(model, ["a (b:1.5) c"], emphasis=how) for how in ("kohya", "a1111", "comfyui")}
    others = [place for place in range(154) if place != 2]
    for how in ("kohya", "comfyui"):
        assert torch.equal(weighted[how]["hidden"][0, others], plain[others])
    assert torch.allclose(weighted["kohya"]["hidden"][0, 2], plain[2] * 1.5)
    assert torch.allclose(weighted["comfyui"]["hidden"][0, 2], empty[2] + 1.5 * (plain[2] - empty[2]), atol=1e-5)
    start = 0
    for encoder in model.text_encoders:
        width: int = encoder.config.hidden_size  # pyright: ignore
        own, found = plain[:77, start : start + width], weighted["a1111"]["hidden"][0, :77, start : start + width]
        multiplied = own.clone()
        multiplied[2] *= 1.5
        assert torch.allclose(found, multiplied * own.mean() / multiplied.mean(), atol=1e-5)
        start += width
    assert torch.equal(weighted["a1111"]["hidden"][0, 77:], plain[77:]), "the other chunk"
    pooled = encode_prompts(model, ["a b c"]).get("pooled")
    pooled_states = [found.get("pooled") for found in weighted.values()]
    assert all(other is None if pooled is None else torch.equal(other, pooled) for other in pooled_states)


@torch.no_grad()
def test_break_begins_the_second_chunk_and_without_one_cuts(tmp_path: Path) -> None:
    model = opened(tmp_path / "m", "sd1", 150)
    broken = encode_prompts(model, ["a BREAK b"], emphasis="a1111")["hidden"][0]
    first, second = encode_prompts(model, ["a", "b"])["hidden"]
    assert torch.allclose(broken, torch.cat([first[:77], second[:77]]), atol=1e-6)
    set_handle(model, max_token_length=75)
    assert cut_prompts(model, ["a BREAK b"], "a1111") == {"a BREAK b": 1}
    assert torch.allclose(encode_prompts(model, ["a BREAK b"], emphasis="a1111")["hidden"][0], first[:77], atol=1e-6)


@torch.no_grad()
def test_all_vectors_of_a_new_word_have_its_weight(tmp_path: Path) -> None:
    model = opened(tmp_path / "m", "sd1")
    word = TokenEmbedding(placeholder_token="[v]", num_vectors=2, initializer_token="b")
    with apply_adapters([word], model):
        plain = encode_prompts(model, ["a [v] c"])["hidden"][0]
        weighted = encode_prompts(model, ["a ([V]:1.5) c"], emphasis="kohya")["hidden"][0]
    changed = [place for place in range(77) if not torch.equal(plain[place], weighted[place])]
    assert changed == [2, 3]
    assert torch.allclose(weighted[2:4], plain[2:4] * 1.5)
