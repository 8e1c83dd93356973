"""Prior preservation (Ruiz et al. 2023, eq. 2): the class as the model knew it before is trained along with the instance."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from nodes.diffusion.handles.datasets import CaptionedDataset, EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.models.active import ActiveModel
from nodes.diffusion.randomness import seed_for
from nodes.diffusion.training.denoising_task import DenoisingTask


@dataclass
class PriorPreservation:
    """The loss of the instance plus `weight` times the loss of the class, each a mean over its own batch.

    Each half weights its own timesteps, so min-SNR weights fit the samples they belong to.
    """

    instance: DenoisingTask
    prior: DenoisingTask
    weight: float

    @property
    def model(self) -> ActiveModel:
        return self.instance.model

    @property
    def validation(self) -> list[int]:
        return self.instance.validation

    def loss(self, step: int, micro_step: int) -> Tensor:
        """Return the loss of one micro batch of each."""
        return self.instance.loss(step, micro_step) + self.weight * self.prior.loss(step, micro_step)

    def validation_loss(self, stop_if_asked: Callable[[], object] = lambda: None) -> float:
        """Return the instance's loss on its held-out pictures."""
        return self.instance.validation_loss(stop_if_asked)


def class_task(
    model: ActiveModel,
    settings: DenoisingSettings,
    latents: LatentDataset,
    texts: EmbeddingDataset | CaptionedDataset,
) -> DenoisingTask:
    """Return the loss on class pictures, with a seed of its own and nothing held out."""
    own = settings.model_copy(update={"seed": seed_for(settings.seed, "class"), "validation_fraction": 0.0})
    return DenoisingTask(model, own, latents, texts)
