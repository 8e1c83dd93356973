"""Aesthetic gradients: each prompt's text comes nearer to the look, and nothing else changes."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModelWithProjection

from nodes.diffusion.adapters.aesthetic_gradient import tuned_hidden
from nodes.diffusion.adapters.apply import apply_adapters
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import AestheticGradient, TokenEmbedding
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.sampling import sampler
from nodes.diffusion.sampling.sampler import denoise, make_scheduler
from nodes.diffusion.text.encoding import encode_prompts
from nodes.diffusion.text.prompt_syntax import Emphasis
from tests.models import WIDTH, fresh_model, make_model_folder, random_adapter, set_handle

CPU = torch.device("cpu")
PROMPTS = ["red apple", "a house"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model_folder(tmp_path_factory.mktemp("aesthetic") / "sd1", "sd1")


@pytest.fixture
def model(folder: Path) -> ActiveModel:
    return fresh_model(folder)


@pytest.fixture
def look(tmp_path: Path) -> Callable[..., AestheticGradient]:
    """Make an aesthetic gradient with a random look and, as the encoder has none, a random projection."""
    generator = torch.Generator().manual_seed(1)
    tensors = {
        "aesthetic_embedding": 3 * torch.randn(1, 8, generator=generator),
        "text_projection": torch.randn(8, WIDTH, generator=generator),
    }
    save_file(tensors, tmp_path / "look.safetensors")
    options: dict[str, Any] = {"steps": 3, "learning_rate": 1e-3, "weights": tmp_path / "look.safetensors"}
    return lambda **changes: AestheticGradient(**{**options, **changes})


def hidden(model: ActiveModel, prompts: list[str], emphasis: Emphasis = "none") -> Tensor:
    assert model.aesthetic is not None
    with torch.no_grad():
        before = encode_prompts(model, prompts, emphasis=emphasis)["hidden"]
        return tuned_hidden(model, model.aesthetic, prompts, before, lambda: None, emphasis)


def weights(model: ActiveModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.text_encoders[0].state_dict().items()}


def draw(model: ActiveModel, **changes: Any) -> Tensor:
    options: dict[str, Any] = {"negative_prompt": "blurry", "num_inference_steps": 2, "guidance_scale": 5.0, "size": (16, 16)}
    return denoise(model, PROMPTS, seeds=[1, 2], scheduler=make_scheduler(model, "ddim"), **{**options, **changes})


def test_the_cosine_rises_with_every_step_and_the_encoder_is_left_alone(model: ActiveModel, look: Any) -> None:
    before, own = weights(model), list(model.text_encoders[0].parameters())
    plain = encode_prompts(model, PROMPTS)["hidden"]
    found: list[tuple[float, float]] = []
    for steps in (1, 4, 12):
        with apply_adapters([look(steps=steps)], model):
            assert not torch.allclose(hidden(model, PROMPTS), plain, atol=1e-3)
            assert model.aesthetic is not None
            found.append(model.aesthetic.cosines["red apple"])
    assert found[0][0] == pytest.approx(found[2][0], abs=1e-6)
    assert found[0][0] < found[0][1] < found[1][1] < found[2][1]
    assert model.aesthetic is None
    assert all(a is b for a, b in zip(own, model.text_encoders[0].parameters(), strict=True))
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(model).items())
    assert not any(p.requires_grad or p.grad is not None for p in own)
    assert torch.equal(encode_prompts(model, PROMPTS)["hidden"], plain)


def test_a_long_prompt_is_tuned_by_its_beginning_and_changed_as_a_whole(model: ActiveModel, look: Any) -> None:
    long = "x" * 75 + " behind"
    with apply_adapters([look()], model):
        before = hidden(model, [long])
        set_handle(model, max_token_length=150)
        found, plain = hidden(model, [long]), encode_prompts(model, [long])["hidden"]
    assert torch.allclose(found[:, :77], before, atol=1e-5)
    assert found.shape == plain.shape
    assert not torch.allclose(found[:, 77:], plain[:, 77:], atol=1e-3)


def test_a_prompt_is_tuned_alike_whoever_is_there(model: ActiveModel, look: Any) -> None:
    with apply_adapters([look()], model):
        together = hidden(model, [*PROMPTS, PROMPTS[0]])
        alone = [hidden(model, [prompt]) for prompt in reversed(PROMPTS)]
    assert torch.equal(together[0], alone[1][0])
    assert torch.equal(together[1], alone[0][0])
    assert torch.equal(together[2], together[0])


@pytest.mark.parametrize("clip_skip", [0, 1])
def test_one_step_equals_plain_lines(model: ActiveModel, look: Any, clip_skip: int) -> None:
    gradient = look(steps=1)
    set_handle(model, clip_skip=clip_skip)
    tokenizer = model.tokenizers[0]
    other = fresh_model(model.parts.folder).text_encoders[0].requires_grad_(True)
    tokens = tokenizer(PROMPTS[:1], padding="max_length", return_tensors="pt").input_ids
    tensors = load_file(gradient.weights)
    at = int((tokens[0] == tokenizer.eos_token_id).int().argmax())
    feature = tensors["text_projection"] @ other(tokens).last_hidden_state[0, at]
    goal = tensors["aesthetic_embedding"][0] / tensors["aesthetic_embedding"].norm()
    cosine = feature @ goal / feature.norm()
    (-cosine).backward()
    with torch.no_grad():
        for parameter in other.parameters():  # the first step of Adam, whose means cancel but for epsilon
            parameter -= 1e-3 * parameter.grad / (parameter.grad.abs() + 1e-8)
        output = other(tokens, output_hidden_states=True)
        wanted = other.final_layer_norm(output.hidden_states[-1 - clip_skip])
    with apply_adapters([gradient], model):
        found = hidden(model, PROMPTS[:1])
        assert model.aesthetic is not None
        assert model.aesthetic.cosines["red apple"][0] == pytest.approx(float(cosine.detach()), abs=1e-5)
    assert torch.allclose(found, wanted, atol=1e-4)
    assert not torch.allclose(found, encode_prompts(model, PROMPTS[:1])["hidden"], atol=1e-3)


def test_sampling_gives_the_unet_tuned_positives_and_the_same_negatives(
    model: ActiveModel, look: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    original = sampler.denoise_from

    def watch(model: Any, text: Any, **options: Any) -> Tensor:
        seen.append(text["hidden"].clone())
        return original(model, text, **options)

    monkeypatch.setattr(sampler, "denoise_from", watch)
    plain = draw(model)
    with apply_adapters([look()], model):
        tuned = draw(model)
        wanted = hidden(model, PROMPTS)
        assert model.aesthetic is not None
        assert list(model.aesthetic.cosines) == PROMPTS
    with apply_adapters([look(blend=0)], model):
        assert torch.equal(draw(model), plain)
    assert torch.equal(seen[0][:2], seen[1][:2])
    assert torch.equal(seen[1][2:], wanted)
    assert not torch.allclose(plain, tuned, atol=1e-3)
    assert torch.equal(draw(model), plain)


def test_blend_lies_between(model: ActiveModel, look: Any) -> None:
    plain = encode_prompts(model, PROMPTS)["hidden"]
    with apply_adapters([look()], model):
        whole = hidden(model, PROMPTS)
    with apply_adapters([look(blend=0.25)], model):
        part = hidden(model, PROMPTS)
    assert torch.allclose(part, 0.75 * plain + 0.25 * whole, atol=1e-6)


def test_weights_act_on_what_was_tuned(model: ActiveModel, look: Any) -> None:
    with apply_adapters([look()], model):
        plain, weighted = hidden(model, ["red apple"]), hidden(model, ["(red:1.5) apple"], emphasis="kohya")
    changed = (plain != weighted).any(dim=-1)[0].nonzero().flatten().tolist()
    assert changed == list(range(1, 1 + len(model.tokenizers[0]("red", add_special_tokens=False)["input_ids"])))
    assert torch.allclose(weighted[0, changed], 1.5 * plain[0, changed])


def test_a_stop_in_the_middle_leaves_the_model_as_it_was(model: ActiveModel, look: Any) -> None:
    before = weights(model)

    def stop(step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), apply_adapters([look()], model):
        draw(model, on_step=stop)
    assert model.aesthetic is None
    assert all(torch.equal(tensor, before[name]) for name, tensor in weights(model).items())


def test_it_works_with_new_words_and_a_lora_and_trains_neither(
    model: ActiveModel, look: Any, folder: Path, tmp_path: Path
) -> None:
    save_file({"text_encoder_0": torch.randn(2, WIDTH)}, tmp_path / "word.safetensors")
    word = TokenEmbedding(placeholder_token="<new>", num_vectors=2, weights=tmp_path / "word.safetensors")
    lora = random_adapter(folder, tmp_path / "lora.safetensors")
    with apply_adapters([word, lora, look()], model) as applied:
        for tensor in (*applied[0].values(), *applied[1].values()):
            tensor.requires_grad_(True)
        before = [tensor.clone() for tensor in (*applied[0].values(), *applied[1].values())]
        first = hidden(model, ["a <new> house"])
        assert not torch.allclose(first, hidden(model, ["a house"]), atol=1e-3)
        after = [*applied[0].values(), *applied[1].values()]
        assert all(torch.equal(a, b) and a.grad is None for a, b in zip(after, before, strict=True))
        assert applied[2] == {}
        assert model.aesthetic is not None
        assert all(after > start for start, after in model.aesthetic.cosines.values())
    with apply_adapters([word, look()], model):
        assert not torch.allclose(hidden(model, ["a <new> house"]), first, atol=1e-3)


def test_half_precision_is_tuned_in_full(folder: Path, model: ActiveModel, look: Any) -> None:
    half = fresh_model(folder, "bf16")
    with apply_adapters([look()], half):
        found = hidden(half, PROMPTS)
    with apply_adapters([look()], model):
        wanted = hidden(model, PROMPTS)
    assert found.dtype == torch.bfloat16
    assert torch.allclose(found.float(), wanted, atol=0.1)
    assert {parameter.dtype for parameter in half.text_encoders[0].parameters()} == {torch.bfloat16}


def test_an_encoder_with_a_projection_needs_no_other(tmp_path: Path, look: Any) -> None:
    folder = make_model_folder(tmp_path / "own", "sd1")
    config = fresh_model(folder).text_encoders[0].config
    torch.manual_seed(0)
    CLIPTextModelWithProjection(config).save_pretrained(folder / "text_encoder")
    save_file({"aesthetic_embedding": torch.randn(1, WIDTH)}, tmp_path / "bare.safetensors")
    model = fresh_model(folder)
    with apply_adapters([look(weights=tmp_path / "bare.safetensors")], model):
        hidden(model, PROMPTS)
        assert model.aesthetic is not None
        assert all(after > before for before, after in model.aesthetic.cosines.values())


def test_two_looks_are_refused(model: ActiveModel, look: Any) -> None:
    with pytest.raises(InputError, match="two aesthetic"), apply_adapters([look(), look()], model):
        pass
    assert model.aesthetic is None
