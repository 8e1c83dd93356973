"""TrainVAE."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.migration import Migration
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.datasets import ImageDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.settings import TrainingSettings
from nodes.methods.earlier_fields import DENOISING_FIELDS
from nodes.methods.more_steps import checkpoint_of
from nodes.methods.reports import report_step
from nodes.methods.shown_pictures import read_views, repeated
from nodes.methods.training import check_trained, keep_tensors

MEASURED = 64
"""Pictures at most that are held out of training to measure on."""


class TrainVAE(TrainingSettings, Node):
    """Train the VAE that turns pictures into latents and back, by how well pictures return.

    Of a new model all of it is trained, and the latents are then brought to deviation 1. Once a UNet knows the latents the
    decoder alone is: they stay as they are, and what is drawn becomes sharper or fits the pictures better.
    """

    display_name: ClassVar[str] = "Train VAE"
    synonyms: ClassVar[tuple[str, ...]] = ("autoencoder", "decoder", "latents", "first stage")
    resumable: ClassVar[bool] = True
    version: ClassVar[int] = TrainingSettings.version + 1
    not_in_key: ClassVar[frozenset[str]] = frozenset({"checkpoint_every", "validation_every"})
    migrations: ClassVar[Mapping[int, Migration]] = {0: DENOISING_FIELDS}

    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-4
    """Step size: 1e-5 for the decoder of Stable Diffusion, 2e-3 for a small new VAE."""
    crop: Annotated[int, Field(ge=0, le=2048, multiple_of=8)] = 0
    """Side of the random squares that are shown, in pixels; 0 shows whole pictures, more makes the beginning quicker."""
    edge_weight: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Weight of the error of edges, which keeps them sharp."""
    kl_weight: Annotated[float, Field(ge=0, le=1)] = 3e-4
    """Weight of the distance from the prior: more makes latents smoother, less pictures more exact."""
    validation_fraction: Annotated[float, Field(ge=0, le=0.5, json_schema_extra={"group": "Watching"})] = 0.02
    """Share of the pictures held out of training, on which the peak signal-to-noise ratio (`psnr`, dB) is measured."""

    def run(self, model: DiffusionModel, images: ImageDataset, context: RunContext) -> DiffusionModel:
        check_trained(model.adapters)

        device = diffusion.choose_device(context.device)
        precision = diffusion.training_precision(device, self.precision)
        change = WeightChange(name="trained VAE", unet=False, vae=True)
        is_new = model.initial_seed is not None and all(isinstance(a, WeightChange) and not a.unet for a in model.adapters)
        earlier = [adapter for adapter in model.adapters if isinstance(adapter, WeightChange) and adapter.vae]
        self._check_sizes(images)
        pictures = read_views(images, context)
        held = diffusion.training.held_out(len(pictures), self)
        used = replace(model, adapters=(*earlier, change))
        with diffusion.adapters.model_in_use(used, context.locate, device=device) as loaded:
            everything = loaded.applied[-1]
            parameters = everything if is_new else diffusion.training.decoder_only(everything)
            training = repeated(images, held)
            space = diffusion.families.latent_space(loaded)
            task = diffusion.training.VAETask(space, self, pictures, training, self.crop, self.edge_weight, self.kl_weight)
            for parameter in parameters.values():
                parameter.requires_grad_(True)
            diffusion.optimization.minimize(
                parameters,
                task.loss,
                self,
                device=device,
                precision=precision,
                report=partial(self._report, task.psnr, sorted(held)[:MEASURED], context),
                checkpoint=checkpoint_of(self, context, precision),
            )
            tensors = {name.removeprefix("vae."): p.detach().float().cpu().clone() for name, p in parameters.items()}
            if is_new:
                factor = 1 / (loaded.vae.config["scaling_factor"] * task.latent_deviation())
                tensors = diffusion.training.with_unit_latents(tensors, loaded.vae.config["latent_channels"], factor)
        weights = keep_tensors({f"vae.{name}": tensor for name, tensor in tensors.items()}, context)
        adapters = (*model.adapters, replace(change, weights=weights))
        return replace(model, vae_digest=weights.name if is_new else model.vae_digest, adapters=adapters)

    def _check_sizes(self, images: ImageDataset) -> None:
        """Pictures of one batch are of one size."""
        sizes = {picture.views[0].size for picture in images.pictures}
        if not self.crop and len(sizes) > 1:
            remedy = "Set crop, or turn buckets off in LoadImages."
            raise InputError("the pictures are of several sizes.", field="crop", remedy=remedy)
        if self.crop > min(min(size) for size in sizes):
            raise InputError("some pictures are smaller than crop.", field="crop", remedy="Lower it.")

    def _report(
        self, psnr: Callable[[int], float], held: list[int], context: RunContext, done: "diffusion.optimization.StepDone"
    ) -> None:
        """Tell the numbers of a step, and let the person stop."""
        report_step(done, self, context)
        if held and (done.step == self.max_steps or done.step % self.validation_every == 0):
            with done.trainer.weights_for_use(), done.trainer.autocast():
                found: list[float] = []
                for index in held:
                    found.append(psnr(index))
                    context.stop_if_asked()
            context.metric(done.step, psnr=sum(found) / len(found))
