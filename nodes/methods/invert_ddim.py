"""InvertDDIM."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from graph_runtime.context import RunContext
from graph_runtime.node import Known, Node, Prompt, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_known_method, check_method
from nodes.diffusion.handles.datasets import ImageDataset, Picture
from nodes.diffusion.handles.models import DiffusionModel, inversion_conditions
from nodes.diffusion.handles.prompt_checks import unread_weights_warning, without_networks
from nodes.diffusion.handles.results import Inversion
from nodes.diffusion.handles.wired_models import refuse_untrained

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor


class InvertDDIM(Node):
    """Find the noise from which a model would draw a given picture, by walking DDIM backwards (Song et al. 2021).

    Without guidance the way back nearly meets the picture; with guidance it strays, which OptimizeNullText mends.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("unsample", "real image editing", "reverse", "null-text")

    picture: str = ""
    """Name of the picture in its folder; empty takes the first."""
    prompt: Annotated[Prompt, AfterValidator(without_networks)] = ""
    """What the picture shows, in words that the model knows; empty takes the text that came with the picture."""
    num_inference_steps: Annotated[int, Field(ge=1, le=500)] = 50
    """Steps to the noise, and as many back; more follow the way more closely."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "DDIM inversion")

    def run(self, model: DiffusionModel, images: ImageDataset, context: RunContext) -> Inversion:
        check_method(model.family, "DDIM inversion")
        picture = _named(images, self.picture)
        prompt = " ".join(self.prompt.split()) or (picture.text or "").strip()
        if not prompt:
            remedy = "Say what the picture shows."
            raise InputError(f"{picture.name} has no text of its own, and the prompt is empty.", field="prompt", remedy=remedy)
        if warning := unread_weights_warning("prompts", [prompt]):
            context.message(warning, "warning")
        if any(adapter.weights is None for adapter in model.adapters):
            raise InputError(
                "the model has an adapter that is not trained.", field="model", remedy="Wire the trained model here."
            )
        from safetensors.torch import save_file

        shown = diffusion.pictures.render(
            diffusion.pictures.picture_of(picture, context.open, images.background), picture.views[0]
        )
        path, scheduler = self._path(model, shown, picture.name, prompt, context)
        tensors = {"ddim_latents": path, "latent": path[-1:].clone()}
        return Inversion(
            file=context.add_file(".safetensors", lambda file: save_file(tensors, file)),
            picture=context.add_file(".png", lambda file: diffusion.pictures.save_png(shown, file)),
            prompt=prompt,
            num_inference_steps=self.num_inference_steps,
            size=shown.size,
            model_digest=model.digest,
            conditions=inversion_conditions(model),
            zero_terminal_snr=model.zero_terminal_snr,
            prediction_type=model.prediction_type,
            scheduler=json.dumps(scheduler, sort_keys=True),
        )

    def _path(
        self, model: DiffusionModel, shown: "Image", name: str, prompt: str, context: RunContext
    ) -> tuple["Tensor", dict[str, Any]]:
        """The latents from the picture, as the model's own VAE encodes it, to noise; and the scheduler's settings."""
        import torch

        device, plain = diffusion.choose_device(context.device), replace(model, adapters=())
        with diffusion.adapters.model_in_use(plain, context.locate, device=device) as loaded:
            latents, _ = diffusion.models.encode_pictures(
                diffusion.families.latent_space(loaded), diffusion.pictures.as_tensor(shown)[None], [name]
            )
        with diffusion.adapters.model_in_use(model, context.locate, device=device) as loaded, torch.no_grad():
            schedule = diffusion.sampling.ddim_schedule(loaded, self.num_inference_steps)
            if cut := diffusion.families.cut_prompts(loaded, [prompt]):
                context.message(diffusion.text.cut_warning("prompts", cut, model.max_token_length), "warning")
            text = diffusion.families.encode_prompts(loaded, [prompt])
            path = diffusion.sampling.invert(
                loaded, latents, text, schedule, on_step=lambda step: context.progress(step, self.num_inference_steps)
            )
            return path.cpu(), loaded.scheduler_config


def _named(images: ImageDataset, name: str) -> Picture:
    if not name:
        return images.pictures[0]
    wanted = name.strip().replace("\\", "/")
    found = [picture for picture in images.pictures if wanted in (picture.name, Path(picture.name).stem)]
    if not found:
        some = ", ".join(picture.name for picture in images.pictures[:5])
        raise InputError(f"there is no picture {name!r}.", field="picture", remedy=f"The folder has {some}.")
    return found[0]
