"""New words: where they stand in a prompt, what they leave alone, and how they are pooled and cut."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.text.encoding import cut_prompts, encode_prompts
from nodes.diffusion.text.placeholder_tokens import replaced_word, token_ids, token_table
from tests.models import BUNDLED, fresh_model, make_model_folder

CPU = torch.device("cpu")
FAMILIES = ["sd1", "sd2", "sdxl"]


def word(**changes: Any) -> TokenEmbedding:
    return TokenEmbedding(**{"placeholder_token": "<new>", "num_vectors": 3, "initializer_token": "b", **changes})


@pytest.fixture
def bundled() -> ActiveModel:
    return fresh_model(BUNDLED)


@pytest.mark.parametrize(
    "prompt", ["flat style red apple, on a Blue background", "weird   spaces\tand wörds", "", "a <new> thing"]
)
def test_without_new_words_tokens_are_the_tokenizers_own(bundled: ActiveModel, prompt: str) -> None:
    tokenizer = bundled.tokenizers[0]
    assert token_ids(prompt, tokenizer, {}) == tokenizer(prompt, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize(
    ("prompt", "count"),
    [("a <NEW> on <new>.", 2), ("<new>", 1), ("<new>s", 0), ("<new>-neg", 0), ("x<new>", 0), ("(<new>:1.2)", 1)],
)
def test_a_placeholder_stands_alone_and_becomes_all_its_vectors(bundled: ActiveModel, prompt: str, count: int) -> None:
    ids = token_ids(prompt, bundled.tokenizers[0], {"<new>": [torch.zeros(3, 192)]})
    assert sum(number >= 4096 for number in ids) == 3 * count
    if count:
        start = ids.index(4096)
        assert ids[start : start + 3] == [4096, 4097, 4098]


def test_two_words_get_ids_of_their_own(bundled: ActiveModel) -> None:
    words = {"<a>": [torch.zeros(2, 192)], "<a>-neg": [torch.zeros(1, 192)]}
    assert token_ids("<a>-neg <a>", bundled.tokenizers[0], words) == [4098, 4096, 4097]
    assert replaced_word("a <A>, <a>-neg", "<a>", "x") == "a x, <a>-neg"


@pytest.mark.parametrize("family", FAMILIES)
def test_an_untrained_word_reads_as_its_initializer(tmp_path: Path, family: Any) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", family))
    plain = encode_prompts(model, ["a b b b c"])
    with apply_adapters([word()], model):
        new = encode_prompts(model, ["a <new> c"])
    assert torch.allclose(new["hidden"], plain["hidden"], atol=1e-6)
    if family == "sdxl":
        assert new.get("pooled") is not None
        assert plain.get("pooled") is not None
        assert torch.allclose(new.get("pooled"), plain.get("pooled"), atol=1e-6)  # pooled at end-of-text, not at the highest id


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_reach_the_vectors_and_nothing_else(tmp_path: Path, family: Any) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", family))
    tables = [token_table(encoder) for encoder in model.text_encoders]
    before = [table.weight.clone() for table in tables]
    with apply_adapters([word()], model) as applied:
        for vectors in applied[0].values():
            vectors.requires_grad_(True)
        text = encode_prompts(model, ["a <new> c", "plain"])
        (text["hidden"].square().sum() + (0 if text.get("pooled") is None else text.get("pooled").square().sum())).backward()
        for vectors in applied[0].values():
            assert vectors.grad is not None
            assert (vectors.grad.abs().sum(dim=1) > 0).all()
    assert all(table.weight.grad is None for table in tables)
    assert [token_table(encoder) for encoder in model.text_encoders] == tables
    assert all(torch.equal(table.weight, kept) for table, kept in zip(tables, before, strict=True))
    assert not model.placeholders


def test_a_cut_prompt_keeps_its_end(tmp_path: Path) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sd1"))
    with apply_adapters([word(num_vectors=40)], model):
        long = "<new> x <new>"
        assert cut_prompts(model, [long, "<new>"]) == {long: 6}
        assert torch.allclose(encode_prompts(model, [long])["hidden"], encode_prompts(model, [f"{long} more"])["hidden"])


def test_a_word_of_another_width_is_refused(tmp_path: Path) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sdxl"))
    save_file({"text_encoder_0": torch.zeros(3, 99)}, tmp_path / "w.safetensors")
    with (
        pytest.raises(InputError, match="99 wide; this model takes 16 and 16"),
        apply_adapters([word(weights=tmp_path / "w.safetensors")], model),
    ):
        pass
    assert not model.placeholders


def test_the_same_word_twice_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sd1"))
    with pytest.raises(InputError, match="two embeddings"), apply_adapters([word(), word(placeholder_token="<NEW>")], model):
        pass
    assert not model.placeholders
