"""More steps: a training goes on where one with fewer steps, and all else equal, has ended."""

from functools import partial
from typing import TYPE_CHECKING, Any

from graph_runtime import history
from graph_runtime.context import RunContext
from nodes import diffusion
from nodes.diffusion.handles.settings import TrainingSettings
from nodes.methods.costs import Costs

if TYPE_CHECKING:
    from nodes.diffusion.optimization.training_state import TrainingState

Kept = dict[str, Any]
"""Of a finished training: `steps`, `file` with its state, None where that was too large, and its `costs`."""


def checkpoint_of(
    settings: TrainingSettings, context: RunContext, precision: str, costs: Costs | None = None
) -> "TrainingState | None":
    """Return where a training keeps its state: begun anew, interrupted, or begun where one with fewer steps has ended.

    A step depends on the state and its own number alone, so the result is that of a training from the first step on.
    """

    if context.progress_folder is None:
        return None

    def resumed(steps: int) -> None:
        context.message(f"Goes on from step {steps}, where it was interrupted.")

    if not context.stem:
        return diffusion.optimization.TrainingState(context.progress_folder, resumed=resumed)
    key = f"training:{context.stem}:{precision}"
    asked = context.find_item(_state(key, settings.continue_from)) if settings.continue_from else None
    kept: Kept | None = asked or context.find_item(key)
    earlier = None
    if kept and kept["steps"] < settings.max_steps and not diffusion.optimization.TrainingState(context.progress_folder).begun():
        earlier = kept["file"] if _leads_on(kept, settings) else None
        context.message(_continuation_message(kept, settings))
        if earlier:
            history.continue_from(_state(key, kept["steps"]), context.store, context.progress_folder)
        if earlier and costs:
            costs.add(*kept["costs"])
    keep = partial(_keep, settings, context, key, kept, costs)
    return diffusion.optimization.TrainingState(context.progress_folder, earlier=earlier, keep=keep, resumed=resumed)


def _leads_on(kept: Kept, settings: TrainingSettings) -> bool:
    """Return whether the kept state is the one that this training has after as many steps."""
    return settings.has_steady_rate or settings.continue_from == kept["steps"]


def _continuation_message(kept: Kept, settings: TrainingSettings) -> str:
    steps = kept["steps"]
    if not _leads_on(kept, settings):
        return (
            f"The {steps} steps that were trained before are not used: with another max_steps the {settings.lr_scheduler} "
            f"schedule has other rates. To go on from them with the rest of the new schedule, set continue_from to {steps}."
        )
    if kept["file"] is None:
        return f"The {steps} steps that were trained before are trained again: their state is too large for the cache to keep."
    return f"Goes on from the {steps} steps that were trained before."


def _keep(
    settings: TrainingSettings, context: RunContext, key: str, kept: Kept | None, costs: Costs | None, state: dict[str, Any]
) -> None:
    """Keep the state for a training with more steps, unless one is there that saves more."""

    steady = settings.has_steady_rate
    if (kept and steady and kept["steps"] > settings.max_steps) or (settings.continue_from and not steady):
        return
    import torch

    fits = diffusion.optimization.bytes_of(state) <= context.store.spare_bytes
    file = context.add_file(".pt", lambda path: torch.save(state, path)) if fits else None
    spent = [costs.seconds, costs.peak_memory] if costs else [0.0, 0]
    found: Kept = {"steps": settings.max_steps, "file": file, "costs": spent}
    context.keep_item(key, found)
    if fits and context.progress_folder:
        history.keep_for(_state(key, settings.max_steps), context.progress_folder, context.store)
    if not steady:  # a longer training begun anew must not take its place
        context.keep_item(_state(key, settings.max_steps), found)


def _state(key: str, steps: int) -> str:
    """Return what is known of the training after so many steps."""
    return f"{key}:{steps}"
