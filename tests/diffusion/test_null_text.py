"""DDIM inversion, null-text optimization, replay and attention control, beside independent computations."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DDIMInverseScheduler, DDIMScheduler

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.code import latent_space
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.optimization.training_state import TrainingState
from nodes.diffusion.pictures.pictures import psnr
from nodes.diffusion.sampling.ddim import ddim_schedule, ddim_step, invert, unconditional_text
from nodes.diffusion.sampling.null_text import Edit, NullTextTask, first_null_text, optimize_null_text, replay
from nodes.diffusion.sampling.prompt_to_prompt import AttentionControl, controlled
from nodes.diffusion.sampling.sampler import decode
from nodes.diffusion.text.chunks import Chunks, in_chunks
from nodes.diffusion.text.conditions import Conditions
from nodes.diffusion.text.encoding import encode_prompts
from nodes.diffusion.text.token_alignment import align_tokens
from tests.models import BUNDLED, another_use, fresh_model, make_model_folder

CPU = torch.device("cpu")
STEPS = 5
each_family = pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ActiveModel]:
    root = tmp_path_factory.mktemp("models")
    return {f: fresh_model(make_model_folder(root / f, f)) for f in ("sd1", "sd2", "sdxl")}


def task_for(model: ActiveModel, **changes: Any) -> NullTextTask:
    schedule = ddim_schedule(model, STEPS)
    with torch.no_grad():
        text, first = encode_prompts(model, ["a cat"]), first_null_text(model)
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    path = invert(model, latents, text, schedule)
    return NullTextTask(
        model, schedule, path, text, first, **{"guidance_scale": 4.0, "inner_steps": 3, "early_stop": 0, **changes}
    )


def asked(model: ActiveModel, latents: Any, timestep: Any, text: Conditions, hidden: Any = None) -> torch.Tensor:
    """The UNet as diffusers' pipelines call it."""
    side = 2 * latents.shape[-1]
    added = {"text_embeds": text.get("pooled"), "time_ids": torch.tensor([[side, side, 0, 0, side, side]]).float()}
    hidden = text["hidden"] if hidden is None else hidden
    given = {"added_cond_kwargs": added} if text.get("pooled") is not None else {}
    return model.unet(latents, timestep, hidden, **given).sample


@each_family
def test_inversion_is_that_of_diffusers(models: dict[str, ActiveModel], family: str) -> None:
    model = models[family]
    task = task_for(model)
    scheduler: Any = DDIMInverseScheduler.from_config(model.scheduler_config)
    scheduler.set_timesteps(STEPS)
    latents = task.path[:1]
    for number, timestep in enumerate(scheduler.timesteps, 1):
        with torch.no_grad():
            latents = scheduler.step(asked(model, latents, timestep, task.text), timestep, latents).prev_sample
        torch.testing.assert_close(task.path[number : number + 1], latents, rtol=1e-5, atol=1e-5)
    assert len(task.path) == STEPS + 1


@each_family
def test_optimization_and_replay_are_the_paper_s(models: dict[str, ActiveModel], family: str) -> None:
    """Algorithm 1 with diffusers' scheduler and torch's Adam."""
    model = models[family]
    task = task_for(model)
    scheduler: Any = DDIMScheduler.from_config(model.scheduler_config)
    scheduler.set_timesteps(STEPS)
    latents, hidden, theirs = task.path[-1:], task.unconditional["hidden"], []
    null = task.unconditional.replaced(hidden=hidden)
    for number, timestep in enumerate(scheduler.timesteps):
        hidden = hidden.detach().clone().requires_grad_(True)
        optimizer = torch.optim.Adam([hidden], lr=1e-2 * (1 - number / (2 * STEPS)))
        with torch.no_grad():
            given = asked(model, latents, timestep, task.text)
        for _ in range(3):
            without = asked(model, latents, timestep, null, hidden)
            there = scheduler.step(without + 4.0 * (given - without), timestep, latents).prev_sample
            optimizer.zero_grad()
            (there - task.path[-2 - number]).square().mean().backward()
            optimizer.step()
        with torch.no_grad():
            without = asked(model, latents, timestep, null, hidden)
            latents = scheduler.step(without + 4.0 * (given - without), timestep, latents).prev_sample
        theirs.append(hidden.detach())
    ours = optimize_null_text(task)
    assert ours.shape == (STEPS, *task.text["hidden"].shape[1:])
    # Adam's first steps turn tiny differences of gradients near zero into differences of the size of the learning rate
    assert ((ours - torch.cat(theirs)).abs() < 1e-4).float().mean() > 0.98
    drawn = replay(model, task.schedule, task.path[-1:], task.text, task.unconditional.replaced(hidden=ours), guidance_scale=4.0)
    torch.testing.assert_close(drawn, latents, rtol=1e-3, atol=2e-3)


@each_family
def test_each_timestep_comes_nearer_than_without(models: dict[str, ActiveModel], family: str) -> None:
    task = task_for(models[family], inner_steps=10, learning_rate=5e-2)
    losses: list[float] = []
    found = optimize_null_text(task, report=lambda step, loss: losses.append(loss))
    assert len(losses) == STEPS

    def distance(null: torch.Tensor) -> float:
        text = task.unconditional.replaced(hidden=null)
        drawn = replay(task.model, task.schedule, task.path[-1:], task.text, text, guidance_scale=4.0)
        return float((drawn - task.path[0]).square().mean())

    assert distance(found) < 0.8 * distance(task.unconditional["hidden"])
    assert distance(found) == pytest.approx(losses[-1], rel=1e-3)


def test_the_conditional_prediction_is_made_once_per_timestep_without_gradient(models: dict[str, ActiveModel]) -> None:
    task, seen = task_for(models["sd1"]), list[tuple[bool, bool]]()

    def note(_: Any, __: Any, given: dict[str, Any]) -> None:
        hidden = given["encoder_hidden_states"]
        seen.append((torch.equal(hidden, task.text["hidden"]), torch.is_grad_enabled()))

    hook = task.model.unet.register_forward_pre_hook(note, with_kwargs=True)
    optimize_null_text(task)
    hook.remove()
    once = [(True, False), *[(False, True)] * 3, (False, False)]
    assert seen == once * STEPS


@each_family
def test_every_token_of_the_embedding_moves_and_no_weight_gets_a_gradient(models: dict[str, ActiveModel], family: str) -> None:
    task = task_for(models[family])
    found = optimize_null_text(task)
    assert (found[:1] != task.unconditional["hidden"]).any(dim=-1).all()
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in task.model.unet.parameters())


def test_a_good_enough_timestep_is_left_at_once(models: dict[str, ActiveModel]) -> None:
    task, calls = task_for(models["sd1"], early_stop=1.0), list[int]()
    hook = task.model.unet.register_forward_pre_hook(lambda *_: calls.append(1))
    losses: list[float] = []
    found = optimize_null_text(task, report=lambda step, loss: losses.append(loss))
    hook.remove()
    assert len(calls) == 2 * STEPS
    assert max(losses) < 100
    assert torch.equal(found, task.unconditional["hidden"].expand_as(found))


def test_more_guidance_than_numbers_hold_is_an_error(models: dict[str, ActiveModel]) -> None:
    with pytest.raises(InputError) as caught:
        optimize_null_text(task_for(models["sd1"], guidance_scale=1e30))
    assert caught.value.field == "learning_rate"


@pytest.mark.parametrize("stop", [1, 3])
def test_a_stopped_optimization_goes_on_to_the_same_bytes(models: dict[str, ActiveModel], tmp_path: Path, stop: int) -> None:
    task, steps = task_for(models["sd2"]), list[int]()
    whole = optimize_null_text(task)

    def interrupt(step: int, loss: float) -> None:
        if step == stop:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        optimize_null_text(task, report=interrupt, checkpoint=TrainingState(tmp_path))
    resumed = optimize_null_text(task, report=lambda step, loss: steps.append(step), checkpoint=TrainingState(tmp_path))
    assert torch.equal(whole, resumed)
    assert steps == list(range(stop + 1, STEPS + 1))


def state_of(model: ActiveModel) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.unet.state_dict().items()}


def test_the_model_is_left_as_it_was_even_after_an_exception(models: dict[str, ActiveModel]) -> None:
    task = task_for(models["sd1"])
    before, processors = state_of(task.model), task.model.unet.attn_processors

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    edit = Edit(task.text, torch.eye(77))
    with pytest.raises(KeyboardInterrupt):
        optimize_null_text(task, report=stop)
    with pytest.raises(KeyboardInterrupt):
        replay(
            task.model, task.schedule, task.path[-1:], task.text, task.unconditional, guidance_scale=4, edit=edit, on_step=stop
        )
    after = task.model.unet.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    assert task.model.unet.attn_processors.keys() == processors.keys()
    assert all(found is processors[name] for name, found in task.model.unet.attn_processors.items())


@each_family
def test_an_edit_to_the_same_prompt_is_the_replay(models: dict[str, ActiveModel], family: str) -> None:
    task = task_for(models[family])
    given = (task.model, task.schedule, task.path[-1:], task.text, task.unconditional)
    plain = replay(*given, guidance_scale=4.0)
    same = replay(*given, guidance_scale=4.0, edit=Edit(task.text, torch.eye(77), 1.0, 1.0))
    torch.testing.assert_close(plain, same, rtol=1e-4, atol=1e-4)


@each_family
def test_an_edit_without_control_is_a_plain_sampling_of_its_prompt(models: dict[str, ActiveModel], family: str) -> None:
    task = task_for(models[family])
    with torch.no_grad():
        other = encode_prompts(task.model, ["a red dog"])
    noise, null = task.path[-1:], task.unconditional
    free = replay(task.model, task.schedule, noise, task.text, null, guidance_scale=4.0, edit=Edit(other, torch.eye(77), 0, 0))
    plain = replay(task.model, task.schedule, noise, other, null, guidance_scale=4.0)
    held = replay(task.model, task.schedule, noise, task.text, null, guidance_scale=4.0, edit=Edit(other, torch.eye(77), 1, 1))
    torch.testing.assert_close(free, plain, rtol=1e-4, atol=1e-4)
    assert (held - plain).abs().max() > 1e-3


def test_control_takes_the_original_s_attention_for_a_share_of_the_steps() -> None:
    shares = torch.rand(4, 2, 3, 5, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
    alignment = torch.eye(5)
    alignment[:, 2] = 0  # a new token
    control = AttentionControl(alignment, cross_replace_steps=0.8, self_replace_steps=0.4)
    found = control.replaced(shares, cross=True)
    assert torch.equal(found[:3], shares[:3])
    assert torch.equal(found[3][..., [0, 1, 3, 4]], shares[2][..., [0, 1, 3, 4]])
    assert torch.equal(found[3][..., 2], shares[3][..., 2])
    square = shares[..., :3]
    assert torch.equal(control.replaced(square, cross=False)[3], square[2])
    acting = []
    for step in range(10):
        control.progress = step / 10
        acting.append((control.acts_on(64, cross=True), control.acts_on(64, cross=False)))
    assert acting == [(True, True)] * 4 + [(True, False)] * 4 + [(False, False)] * 2
    control.progress = 0
    assert control.acts_on(64**2, cross=True)
    assert not control.acts_on(64**2, cross=False)


def test_controlled_attention_without_a_change_is_the_model_s_own(models: dict[str, ActiveModel]) -> None:
    model = models["sd2"]
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)).repeat(4, 1, 1, 1)
    hidden = encode_prompts(model, ["a cat"])["hidden"].detach().repeat(4, 1, 1)
    with torch.no_grad():
        plain = model.unet(latents, 500, hidden).sample
        with controlled(model.unet, AttentionControl(torch.eye(77), 1.0, 1.0)):
            same = model.unet(latents, 500, hidden).sample
    torch.testing.assert_close(plain, same, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("source", "target", "pairs"),
    [
        ([5, 6, 7], [5, 9, 7], {(1, 1): 1, (2, 2): 1, (3, 3): 1, (4, 4): 1}),
        ([5, 7], [5, 9, 7], {(1, 1): 1, (2, 3): 1, (3, 4): 1}),
        ([5, 6, 7], [5, 7], {(1, 1): 1, (3, 2): 1, (4, 3): 1}),
        ([5, 6], [5, 8, 9], {(1, 1): 1, (2, 2): 0.5, (2, 3): 0.5, (3, 4): 1}),
        ([], [5], {(1, 2): 1}),
    ],
    ids=["replaced", "added", "removed", "two for one", "from nothing"],
)
def test_tokens_are_aligned(source: list[int], target: list[int], pairs: dict[tuple[int, int], float]) -> None:
    matrix = align_tokens(laid(source, 6), laid(target, 6), 8)
    shown = {(int(i), int(j)): float(matrix[i, j]) for i, j in matrix.nonzero() if i <= len(source) + 1 and j <= len(target) + 1}
    assert shown == {(0, 0): 1, **pairs}


def test_a_prompt_that_is_too_long_is_aligned_as_it_was_cut() -> None:
    assert torch.equal(align_tokens(laid(range(100)), laid(range(100)), 77), torch.eye(77))


def test_long_prompts_are_aligned_chunk_by_chunk() -> None:
    """An added token pushes the rest over the chunks' border: places move by one, or by three where they cross."""
    matrix = align_tokens(laid(range(8), 6, 2), laid([99, *range(8)], 6, 2), 8)
    words = {(1 + n, 2 + n) for n in range(5)} | {(6, 9), (9, 10), (10, 11)}
    ends = {(0, 0), (7, 7), (8, 8), (11, 12), (12, 13), (13, 14), (14, 15)}
    assert {(int(i), int(j)) for i, j in matrix.nonzero()} == words | ends


def laid(tokens: Sequence[int], room: int = 75, count: int = 1) -> Chunks:
    return in_chunks([[token] for token in tokens], room, count)


def test_a_step_to_a_level_and_back_is_none(models: dict[str, ActiveModel]) -> None:
    for model in (models["sd1"], models["sd2"]):
        schedule = ddim_schedule(model, STEPS)
        latents, output = torch.randn(2, 1, 4, 8, 8, generator=torch.Generator().manual_seed(2))
        assert torch.allclose(ddim_step(output, latents, schedule, 2, 2), latents, atol=1e-5)


def test_zero_terminal_snr_begins_at_the_last_timestep(models: dict[str, ActiveModel]) -> None:
    schedule = ddim_schedule(another_use(models["sd2"], zero_terminal_snr=True), STEPS)
    assert schedule.timesteps[0] == 999
    assert schedule.alphas[0] < 1e-6
    task = replace(task_for(models["sd2"]), schedule=schedule)
    path = invert(task.model, task.path[:1], task.text, schedule)
    assert path.isfinite().all()


def test_sdxl_s_embedding_does_not_begin_at_zeros(models: dict[str, ActiveModel]) -> None:
    with torch.no_grad():
        first, plain = first_null_text(models["sdxl"]), unconditional_text(models["sdxl"])
    assert first.get("pooled") is not None
    assert (plain["hidden"] == 0).all()
    assert (first.get("pooled") == 0).all()
    assert (first["hidden"] != 0).any()


@pytest.mark.slow
def test_the_bundled_model_meets_a_real_picture() -> None:
    """Within 1 dB of the VAE's own round trip, which plain DDIM misses by far; the bundled model predicts velocity."""
    from nodes.diffusion.models.vae_encoding import encode_pictures
    from nodes.diffusion.pictures.pictures import as_tensor, open_picture

    model = fresh_model(BUNDLED)
    picture = open_picture(next((BUNDLED.parents[2] / "workflows" / "pictures" / "null_text").glob("*.webp")))
    with torch.no_grad():
        latents, _ = encode_pictures(latent_space(model), as_tensor(picture)[None], ["picture"])
        text, schedule = encode_prompts(model, ["flat style automobile"]), ddim_schedule(model, 20)
        first = first_null_text(model)
    path = invert(model, latents, text, schedule)
    found = optimize_null_text(NullTextTask(model, schedule, path, text, first, guidance_scale=4, learning_rate=3e-2))

    def reached(null: torch.Tensor) -> float:
        null_text = Conditions({"hidden": null})
        return psnr(picture, decode(model, replay(model, schedule, path[-1:], text, null_text, guidance_scale=4))[0])

    bound = psnr(picture, decode(model, latents)[0])
    assert bound - 1 < reached(found) <= bound + 0.5
    assert reached(first["hidden"]) < reached(found) - 4
