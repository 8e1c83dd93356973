"""Reports of every training after a step."""

from graph_runtime.context import RunContext
from nodes import diffusion
from nodes.diffusion.handles.settings import TrainingSettings


def report_step(done: "diffusion.optimization.StepDone", settings: TrainingSettings, context: RunContext) -> None:
    """Tell the numbers of a step and what is amiss, and let the person stop."""
    context.metric(done.step, loss=done.loss, learning_rate=done.learning_rate)
    if done.step == 1 and settings.lr_warmup_steps >= settings.max_steps:
        context.message(_warm_up_warning(settings), "warning")
    if done.warning:
        context.message(done.warning, "warning")
    context.progress(done.step, settings.max_steps)


def _warm_up_warning(settings: TrainingSettings) -> str:
    share = settings.max_steps / settings.lr_warmup_steps
    return (
        f"The warm-up takes {settings.lr_warmup_steps} steps and the training ends after {settings.max_steps}: learning_rate is "
        f"reached to {share:.0%} only. Lower lr_warmup_steps, or raise max_steps."
    )
