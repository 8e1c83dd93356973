"""TrainCLIP."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.migration import Migration
from graph_runtime.node import Known, Node
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_known_method, check_method
from nodes.diffusion.handles.adapters import WeightChange
from nodes.diffusion.handles.datasets import CaptionedDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.settings import TrainingSettings
from nodes.methods.earlier_fields import DENOISING_FIELDS
from nodes.methods.more_steps import checkpoint_of
from nodes.methods.reports import report_step
from nodes.methods.shown_pictures import read_views, repeated
from nodes.methods.training import check_trained, keep_tensors

MEASURED = 256
"""Pictures at most that are held out of training to measure on."""


class TrainCLIP(TrainingSettings, Node):
    """Train the text encoder together with an image encoder, by which caption belongs to which picture (CLIP).

    The text encoder then knows what words look like, and the image encoder measures it: tags, CLIP-I and CLIP-T come from it.
    """

    display_name: ClassVar[str] = "Train CLIP"
    synonyms: ClassVar[tuple[str, ...]] = ("contrastive", "text encoder", "image encoder", "language-image pretraining")
    resumable: ClassVar[bool] = True
    version: ClassVar[int] = TrainingSettings.version + 1
    not_in_key: ClassVar[frozenset[str]] = frozenset({"checkpoint_every", "validation_every"})
    migrations: ClassVar[Mapping[int, Migration]] = {0: DENOISING_FIELDS}

    batch_size: Annotated[int, Field(ge=2, le=65536)] = 128
    """Pictures and captions among which each is to find its own: the more, the finer the distinctions that are learned."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-3
    """Step size: 1e-3 for a small new CLIP, 1e-5 for one that is trained further."""
    weight_decay: Annotated[float, Field(ge=0, le=1, json_schema_extra={"group": "Optimizer"})] = 0.1
    """How strongly weights are drawn to zero."""
    validation_fraction: Annotated[float, Field(ge=0, le=0.5, json_schema_extra={"group": "Watching"})] = 0.02
    """Share of the pictures held out of training, of which `recall_at_1` counts those whose own caption is nearest."""

    def check_known(self, known: Known) -> None:
        check_known_method(known["model"], "CLIP training")

    def run(self, model: DiffusionModel, captions: CaptionedDataset, context: RunContext) -> DiffusionModel:
        check_trained(model.adapters)

        check_method(model.family, "CLIP training")
        device = diffusion.choose_device(context.device)
        precision = diffusion.training_precision(device, self.precision)
        earlier = [adapter for adapter in model.adapters if isinstance(adapter, WeightChange) and adapter.text_encoder]
        used = replace(model, adapters=tuple(earlier))
        with diffusion.adapters.model_in_use(used, context.locate, device=device) as loaded:
            clip = diffusion.training.TrainedCLIP(loaded, next((a.weights for a in reversed(earlier) if a.image_encoder), None))
        pictures = read_views(captions, context)
        held = diffusion.training.held_out(len(pictures), self)
        training = repeated(captions, held)
        self._check_captions([captions.captions[index] for index in training], context)
        task = diffusion.training.CLIPTask(clip.requires_grad_(True), self, pictures, captions.captions, training)
        parameters = clip.named()
        diffusion.optimization.minimize(
            parameters,
            task.loss,
            self,
            device=device,
            precision=precision,
            report=partial(self._report, task.recall, sorted(held)[:MEASURED], context),
            checkpoint=checkpoint_of(self, context, precision),
        )
        tensors = {name: p.detach().float().cpu() for name, p in parameters.items() if name != "logit_scale"}
        weights = keep_tensors(tensors, context)
        change = WeightChange(name="trained CLIP", unet=False, text_encoder=True, image_encoder=True, weights=weights)
        return replace(model, adapters=(*model.adapters, change))

    def _check_captions(self, captions: Sequence[tuple[str, ...]], context: RunContext) -> None:
        """Raise InputError unless each picture has another's caption to be distinguished from."""
        if len(set(captions)) < 2:
            remedy = "Caption the pictures apart, add some, or lower validation_fraction."
            raise InputError("all pictures that are trained on have one caption.", field="captions", remedy=remedy)
        if len(captions) < self.batch_size:
            context.message(f"There are {len(captions)} pictures to train on: every batch is all of them.", "warning")

    def _report(
        self,
        recall: Callable[[Sequence[int]], float],
        held: list[int],
        context: RunContext,
        done: "diffusion.optimization.StepDone",
    ) -> None:
        """Tell the numbers of a step, and let the person stop."""
        report_step(done, self, context)
        if held and (done.step == self.max_steps or done.step % self.validation_every == 0):
            with done.trainer.weights_for_use(), done.trainer.autocast():
                context.metric(done.step, recall_at_1=recall(held))
