"""OptimizeNullText."""

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Known, Node
from nodes import diffusion
from nodes.diffusion.families.registry import check_known_method, check_method
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.results import Inversion, NullTextInversion

if TYPE_CHECKING:
    from torch import Tensor


class OptimizeNullText(Node):
    """Train the unconditional embedding of each timestep so that guided sampling returns to the picture (Mokady et al. 2023).

    No weight of the model is trained. The arithmetic is fp32: the errors that it follows are too small for less.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("null-text inversion", "pivotal tuning", "real image editing", "prompt-to-prompt")
    resumable: ClassVar[bool] = True

    guidance_scale: Annotated[float, Field(gt=1, le=50)] = 7.5
    """Guidance of the replay; edits need it well above 1."""
    inner_steps: Annotated[int, Field(ge=1, le=1000)] = 10
    """Most optimizer steps for one timestep."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-2
    """Step size of Adam at the first timestep; it falls evenly to half at the last."""
    early_stop: Annotated[float, Field(ge=0, le=1)] = 1e-5
    """Squared error of the latents that is good enough at the first timestep; it rises evenly to a hundredfold."""

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "null-text inversion")

    def run(self, model: DiffusionModel, inversion: Inversion, context: RunContext) -> NullTextInversion:
        import torch
        from safetensors.torch import save_file

        check_method(model.family, "null-text inversion")
        if warning := diffusion.sampling.check_model(inversion, model):
            context.message(warning, "warning")
        path = diffusion.sampling.read_path(inversion)
        used = replace(model, zero_terminal_snr=inversion.zero_terminal_snr)
        device = diffusion.choose_device(context.device)
        checkpoint = diffusion.optimization.TrainingState(context.progress_folder) if context.progress_folder else None

        def report(step: int, loss: float) -> None:
            context.metric(step, loss=loss)
            context.progress(step, inversion.num_inference_steps)

        with diffusion.adapters.model_in_use(used, context.locate, device=device) as loaded:
            with torch.no_grad():
                task = self._task(loaded, inversion, path)
            found = diffusion.sampling.optimize_null_text(task, report=report, checkpoint=checkpoint)
        uncond = context.add_file(".safetensors", lambda file: save_file({"uncond": found.cpu().contiguous()}, file))
        known = {name: value for name, value in asdict(inversion).items() if name not in ("uncond", "guidance_scale")}
        return NullTextInversion(**known, uncond=uncond, guidance_scale=self.guidance_scale)

    def _task(
        self, loaded: "diffusion.models.ActiveModel", inversion: Inversion, path: "Tensor"
    ) -> "diffusion.sampling.NullTextTask":
        return diffusion.sampling.NullTextTask(
            loaded,
            diffusion.sampling.ddim_schedule(loaded, inversion.num_inference_steps),
            path.to(loaded.device),
            diffusion.families.encode_prompts(loaded, [inversion.prompt]),
            diffusion.sampling.first_null_text(loaded),
            guidance_scale=self.guidance_scale,
            inner_steps=self.inner_steps,
            learning_rate=self.learning_rate,
            early_stop=self.early_stop,
        )
