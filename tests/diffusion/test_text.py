"""Text embeddings against diffusers' own pipelines, in both CLIP layouts, and the traps around padding and pooling."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file, save_file

from nodes.diffusion.text.encoding import cut_prompts, encode_prompts
from tests.models import fresh_model, make_model_folder, set_handle

CPU = torch.device("cpu")
PROMPTS = ["a red apple", "", "two words and some more"]


def nested(folder: Path) -> Path:
    """Rewrite the text encoders' names into the older layout, with `text_model.` in front."""
    for part in folder.glob("text_encoder*"):
        file = part / "model.safetensors"
        tensors = load_file(file)
        outer = ("text_model.", "text_projection.")
        save_file({n if n.startswith(outer) else f"text_model.{n}": t for n, t in tensors.items()}, file, {"format": "pt"})
        assert any(name.startswith("text_model.") for name in load_file(file))
    return folder


@pytest.mark.parametrize("layout", ["flat", "nested"])
@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_sd1_and_sd2_equal_diffusers(tmp_path: Path, family, layout: str) -> None:
    folder = make_model_folder(tmp_path / "m", family)
    plain = reference(folder, family)
    pipe = StableDiffusionPipeline(**plain, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    expected, _ = pipe.encode_prompt(PROMPTS, "cpu", 1, False)
    model = fresh_model(nested(folder) if layout == "nested" else folder)
    with torch.no_grad():
        assert torch.allclose(encode_prompts(model, PROMPTS)["hidden"], expected, atol=1e-5)


def reference(folder: Path, family: str) -> dict[str, object]:
    model = fresh_model(folder)
    parts = {"unet": model.unet, "vae": model.vae, "scheduler": model.noise_scheduler}
    names = ["", "_2"] if family == "sdxl" else [""]
    parts |= {f"text_encoder{n}": encoder for n, encoder in zip(names, model.text_encoders, strict=True)}
    return parts | {f"tokenizer{n}": tokenizer for n, tokenizer in zip(names, model.tokenizers, strict=True)}


@pytest.mark.parametrize("layout", ["flat", "nested"])
def test_sdxl_equals_diffusers(tmp_path: Path, layout: str) -> None:
    folder = make_model_folder(tmp_path / "m", "sdxl")
    pipe = StableDiffusionXLPipeline(**reference(folder, "sdxl"))
    hidden, _, pooled, _ = pipe.encode_prompt(PROMPTS, device="cpu", do_classifier_free_guidance=False)
    model = fresh_model(nested(folder) if layout == "nested" else folder)
    with torch.no_grad():
        ours = encode_prompts(model, PROMPTS)
    assert ours.get("pooled") is not None
    assert torch.allclose(ours["hidden"], hidden, atol=1e-5)
    assert torch.allclose(ours.get("pooled"), pooled, atol=1e-5)


def test_clip_skip_takes_an_earlier_layer_after_the_final_norm(tmp_path: Path) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sd1"))
    tokens = model.tokenizers[0](PROMPTS, padding="max_length", max_length=77, return_tensors="pt").input_ids
    encoder = model.text_encoders[0]
    with torch.no_grad():
        states = encoder(tokens, output_hidden_states=True).hidden_states
        inner = getattr(encoder, "text_model", encoder)
        whole = encode_prompts(model, PROMPTS)["hidden"]
        set_handle(model, clip_skip=1)
        skipping = encode_prompts(model, PROMPTS)["hidden"]
    assert torch.equal(skipping, inner.final_layer_norm(states[-2]).detach())
    assert not torch.equal(whole, skipping)


def test_the_pool_stays_at_end_of_text_when_words_are_added(tmp_path: Path) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sdxl"))
    tokenizer, encoder = model.tokenizers[1], model.text_encoders[1]
    assert encoder.config.eos_token_id == 2, "the trap is set"
    tokenizer.add_tokens("<new>")
    encoder.resize_token_embeddings(len(tokenizer))
    tokens = tokenizer(["a <new> b"], padding="max_length", max_length=77, return_tensors="pt").input_ids
    assert int(tokens.max()) > tokenizer.eos_token_id
    model.tokenizers[0].add_tokens("<new>")
    model.text_encoders[0].resize_token_embeddings(len(model.tokenizers[0]))
    with torch.no_grad():
        last = encoder.text_model.final_layer_norm(encoder(tokens, output_hidden_states=True).hidden_states[-1])
        end = int((tokens[0] == tokenizer.eos_token_id).nonzero()[0])
        expected = encoder.text_projection(last[:, end])
        pooled = encode_prompts(model, ["a <new> b"]).get("pooled")
    assert pooled is not None
    assert torch.allclose(pooled, expected, atol=1e-6)


@pytest.mark.parametrize(("family", "pads"), [("sd1", ["<|endoftext|>"]), ("sd2", ["!"]), ("sdxl", ["<|endoftext|>", "!"])])
def test_each_tokenizer_pads_with_its_own_token(tmp_path: Path, family, pads: list[str]) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", family))
    for tokenizer, pad in zip(model.tokenizers, pads, strict=True):
        ids = tokenizer(["a"], padding="max_length", max_length=77)["input_ids"][0]
        assert ids[-1] == tokenizer.convert_tokens_to_ids(pad)


def test_a_tokenizer_as_sd2_ships_it(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd2")
    text = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    ends = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    added = {name: {"__type": "AddedToken", "content": token, **text} for name, token in ends.items()}
    config = {**added, "do_lower_case": True, "pad_token": "<|endoftext|>", "tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer" / "tokenizer_config.json").write_text(json.dumps(config))
    (folder / "tokenizer" / "special_tokens_map.json").write_text(json.dumps({**ends, "pad_token": "!"}))
    model = fresh_model(folder)
    tokenizer = model.tokenizers[0]
    assert tokenizer.pad_token == "!", "the map goes before the configuration"
    assert tokenizer.model_max_length == 77, "which the configuration does not state"
    with torch.no_grad():
        found = encode_prompts(model, ["A Red Apple", "a red apple"])["hidden"]
    assert torch.equal(found[0], found[1])


def test_long_prompts_are_cut_named_and_keep_their_end(tmp_path: Path) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sd1"))
    long = "x" * 100
    with torch.no_grad():
        found = encode_prompts(model, ["short", long])
    assert cut_prompts(model, ["short", long]) == {long: 25}
    assert found["hidden"].shape[1] == 77
    ids = model.tokenizers[0]([long], max_length=77, truncation=True)["input_ids"][0]
    assert ids[-1] == model.tokenizers[0].eos_token_id


def test_gradients_reach_the_text_encoder(tmp_path: Path) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", "sdxl"))
    for encoder in model.text_encoders:
        encoder.requires_grad_(True)
    found = encode_prompts(model, ["a"])
    assert found.get("pooled") is not None
    (found["hidden"].sum() + found.get("pooled").sum()).backward()
    for encoder in model.text_encoders:
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())
