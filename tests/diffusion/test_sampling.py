"""Sampling draws what diffusers' own pipelines draw."""

from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from diffusers import StableDiffusionPipeline, StableDiffusionXLPipeline

from nodes.diffusion.errors import InputError
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.sampling.sampler import Sampler, decode, denoise, make_scheduler, sample
from nodes.diffusion.text.encoding import encode_prompts
from tests.models import another_use, fresh_model, make_model_folder

PROMPTS = ["red apple", "a house"]
CPU = torch.device("cpu")
SAMPLERS = get_args(Sampler)
each_family = pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ActiveModel]:
    root = tmp_path_factory.mktemp("models")
    return {f: fresh_model(make_model_folder(root / f, f)) for f in ("sd1", "sd2", "sdxl")}


def pipeline(model: ActiveModel, sampler: Sampler) -> Any:
    parts = {"vae": model.vae, "unet": model.unet, "scheduler": make_scheduler(model, sampler)}
    parts |= {"text_encoder": model.text_encoders[0], "tokenizer": model.tokenizers[0]}
    if model.info.family == "sdxl":
        parts |= {"text_encoder_2": model.text_encoders[1], "tokenizer_2": model.tokenizers[1]}
        made = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    else:
        made = StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made


def diffusers_latents(model: ActiveModel, sampler: Sampler, negative: str, guidance: float) -> torch.Tensor:
    with torch.no_grad():
        text, unconditional = encode_prompts(model, PROMPTS), encode_prompts(model, [negative] * len(PROMPTS))
    given: dict[str, Any] = {"prompt_embeds": text["hidden"], "negative_prompt_embeds": unconditional["hidden"]}
    if text.get("pooled") is not None:
        given |= {"pooled_prompt_embeds": text.get("pooled"), "negative_pooled_prompt_embeds": unconditional.get("pooled")}
    return pipeline(model, sampler)(
        **given,
        num_inference_steps=5,
        guidance_scale=guidance,
        width=24,
        height=16,
        generator=[torch.Generator().manual_seed(seed) for seed in (3, 4)],
        output_type="latent",
    ).images


@each_family
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_latents_equal_those_of_diffusers(models: dict[str, ActiveModel], family: str, sampler: Sampler) -> None:
    model = models[family]
    ours = denoise(
        model,
        PROMPTS,
        seeds=[3, 4],
        negative_prompt="blurry",
        num_inference_steps=5,
        guidance_scale=4.0,
        size=(24, 16),
        scheduler=make_scheduler(model, sampler),
    )
    theirs = diffusers_latents(model, sampler, "blurry", 4.0)
    assert ours.shape == theirs.shape == (2, 4, 8, 12)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


def test_without_a_negative_prompt_sdxl_is_given_zeros(models: dict[str, ActiveModel]) -> None:
    model, seen = models["sdxl"], list[dict[str, Any]]()
    hook = model.unet.register_forward_pre_hook(lambda _, __, given: seen.append(given), with_kwargs=True)
    sample(model, PROMPTS, seeds=[0, 1], num_inference_steps=1)
    sample(model, PROMPTS, seeds=[0, 1], num_inference_steps=1, negative_prompt="x")
    hook.remove()
    without, given = ((call["encoder_hidden_states"], call["added_cond_kwargs"]["text_embeds"]) for call in seen)
    assert all((part[:2] == 0).all() and (part[2:] != 0).any() for part in without)
    assert all((part[:2] != 0).any() for part in given)


def test_a_seed_draws_the_same_picture_in_any_batch(models: dict[str, ActiveModel]) -> None:
    together = sample(models["sd1"], PROMPTS, seeds=[1, 2], num_inference_steps=3, sampler="euler ancestral")
    alone = sample(models["sd1"], PROMPTS[1:], seeds=[2], num_inference_steps=3, sampler="euler ancestral")
    pairs = list(zip(together[1].tobytes(), alone[0].tobytes(), strict=True))
    assert max(abs(a - b) for a, b in pairs) <= 1
    assert together[0].tobytes() != together[1].tobytes()


def test_guidance_one_spares_the_unconditional_pass(models: dict[str, ActiveModel]) -> None:
    seen: list[int] = []
    hook = models["sd1"].unet.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    sample(models["sd1"], PROMPTS, seeds=[0, 1], num_inference_steps=2, guidance_scale=1)
    sample(models["sd1"], PROMPTS, seeds=[0, 1], num_inference_steps=2, guidance_scale=2)
    hook.remove()
    assert seen == [2, 2, 4, 4]


def test_the_negative_prompt_acts(models: dict[str, ActiveModel]) -> None:
    plain, repelled = (
        sample(models["sd1"], ["apple"], seeds=[0], num_inference_steps=2, negative_prompt=negative)[0].tobytes()
        for negative in ("", "green")
    )
    assert plain != repelled


def test_steps_are_counted_and_may_stop(models: dict[str, ActiveModel]) -> None:
    seen: list[int] = []
    sample(models["sd1"], ["a"], seeds=[0], num_inference_steps=3, on_step=seen.append)
    assert seen == [1, 2, 3]

    def stop(step: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sample(models["sd1"], ["a"], seeds=[0], num_inference_steps=3, on_step=stop)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_zero_terminal_snr_begins_at_the_last_timestep(
    models: dict[str, ActiveModel], sampler: Sampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = make_scheduler(another_use(models["sd2"], zero_terminal_snr=True), sampler)
    said = {**models["sd2"].scheduler_config, "rescale_betas_zero_snr": True}
    monkeypatch.setattr(ActiveModel, "scheduler_config", property(lambda self: said))
    for scheduler in (asked, make_scheduler(models["sd2"], sampler)):
        scheduler.set_timesteps(4)
        assert scheduler.timesteps[0] == 999
        assert scheduler.alphas_cumprod[-1] < 1e-6
        assert scheduler.config["prediction_type"] == "v_prediction"


def test_zero_terminal_snr_needs_v_prediction(models: dict[str, ActiveModel]) -> None:
    with pytest.raises(InputError, match="predicts noise"):
        make_scheduler(another_use(models["sd1"], zero_terminal_snr=True), "ddim")


def test_ddim_does_not_clip_latents(models: dict[str, ActiveModel], monkeypatch: pytest.MonkeyPatch) -> None:
    silent = {name: value for name, value in models["sd1"].scheduler_config.items() if name != "clip_sample"}
    monkeypatch.setattr(ActiveModel, "scheduler_config", property(lambda self: silent))
    assert make_scheduler(models["sd1"], "ddim").config["clip_sample"] is False


def test_an_fp16_vae_decodes_in_fp32_and_is_left_as_it_was(tmp_path: Path) -> None:
    model, seen = fresh_model(make_model_folder(tmp_path, "sdxl"), "fp16"), list[torch.dtype]()
    before = {name: tensor.clone() for name, tensor in model.vae.state_dict().items()}
    hook = model.vae.decoder.register_forward_pre_hook(lambda _, given: seen.append(given[0].dtype))
    pictures = decode(model, torch.randn((2, 4, 8, 8), generator=torch.Generator().manual_seed(0)))
    hook.remove()
    assert [picture.size for picture in pictures] == [(16, 16)] * 2
    assert seen == [torch.float32] * 2
    assert all(tensor.dtype == torch.float16 and torch.equal(tensor, before[n]) for n, tensor in model.vae.state_dict().items())


def test_what_is_not_finite_is_an_error(models: dict[str, ActiveModel]) -> None:
    with pytest.raises(InputError, match="not finite"):
        decode(models["sd1"], torch.full((1, 4, 8, 8), torch.nan))


def test_an_impossible_size_is_refused(models: dict[str, ActiveModel]) -> None:
    with pytest.raises(InputError, match="multiple of 2"):
        sample(models["sd1"], ["a"], seeds=[0], size=(17, 16))
