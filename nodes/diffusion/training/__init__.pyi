from .clip import CLIPTask as CLIPTask, TrainedCLIP as TrainedCLIP
from .denoising_task import DenoisingTask as DenoisingTask, held_out as held_out, train as train
from .dreamartist import GuidedTask as GuidedTask
from .image_variation import (
    InversionTask as InversionTask,
    VariationTask as VariationTask,
    first_vectors as first_vectors,
    trained_names as trained_names,
)
from .prior_preservation import PriorPreservation as PriorPreservation, class_task as class_task
from .vae import VAETask as VAETask, decoder_only as decoder_only, with_unit_latents as with_unit_latents
