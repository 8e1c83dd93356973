"""MeasureLoss."""

from dataclasses import asdict
from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import CaptionedDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel, identifying_fields
from nodes.diffusion.handles.results import ScoreRow, Scores
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.handles.wired_models import refuse_untrained
from nodes.evaluation.remembered import remembered


class MeasureLoss(Node):
    """Measure the denoising loss of models on captioned pictures, at timesteps and noise that are the same for all of them.

    A training's own loss jumps with its random draws; this one does not, so small differences count. Measure on pictures that
    the training has not seen.
    """

    version: ClassVar[int] = 2
    synonyms: ClassVar[tuple[str, ...]] = ("validation loss", "loss at fixed noise", "evaluate", "metrics")
    side_effects: ClassVar[bool] = True

    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses the noise; compare losses of one seed only."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["models"], "models")

    def run(
        self, models: list[DiffusionModel], latents: LatentDataset, captions: CaptionedDataset, context: RunContext
    ) -> Scores:
        if [picture.name for picture in captions.pictures] != [item.name for item in latents.items]:
            remedy = "Wire latents and captions from the same LoadImages."
            raise InputError("latents and captions are of different pictures.", field="captions", remedy=remedy)
        for model in models:
            if model.vae_digest != latents.vae_digest:
                remedy = "Wire EncodeLatents to the same model."
                raise InputError(f"the latents were made by another VAE than {model.name}'s.", field="latents", remedy=remedy)
            if any(adapter.weights is None for adapter in model.adapters):
                remedy = "Wire the trained model here."
                raise InputError("a model has an adapter that is not trained.", field="models", remedy=remedy)
        rows: list[ScoreRow] = []
        for number, model in enumerate(models):
            label = " + ".join([model.name, *(adapter.label for adapter in model.adapters)])
            facts = [self.version, self.seed, identifying_fields(model), asdict(latents), asdict(captions)]
            place = (number, len(models))
            found = remembered(facts, label, lambda m=model, p=place: self._measured(m, latents, captions, p, context), context)
            rows.append(found)
            loss = dict(found.values)["loss"]
            context.metric(number + 1, loss=loss)
            context.message(f"{label}: loss {loss:.5f} at fixed timesteps and noise.")
        return Scores(tuple(rows))

    def _measured(
        self,
        model: DiffusionModel,
        latents: LatentDataset,
        captions: CaptionedDataset,
        place: tuple[int, int],
        context: RunContext,
    ) -> dict[str, float]:
        """Mean over pictures; `place` is the model's number and how many there are."""

        device, count, losses = diffusion.choose_device(context.device), len(latents.items), list[float]()
        with diffusion.adapters.model_in_use(model, context.locate, device=device) as loaded:
            settings = DenoisingSettings(seed=self.seed, zero_terminal_snr=model.zero_terminal_snr)
            task = diffusion.training.DenoisingTask(loaded, settings, latents, captions)
            for index in range(count):
                losses.append(task.picture_loss(index))
                context.progress(place[0] * count + index + 1, place[1] * count)
        return {"loss": sum(losses) / count}
