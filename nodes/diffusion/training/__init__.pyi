from .batches import Draw as Draw
from .clip import CLIPTask as CLIPTask, TrainedCLIP as TrainedCLIP
from .denoising_task import DenoisingTask as DenoisingTask, Task as Task, held_out as held_out, train as train
from .dreamartist import guided as guided, with_negative as with_negative
from .image_variation import (
    InversionTask as InversionTask,
    first_vectors as first_vectors,
    own_views as own_views,
    trained_names as trained_names,
)
from .prior_preservation import PriorPreservation as PriorPreservation, class_task as class_task
from .vae import VAETask as VAETask, decoder_only as decoder_only, with_unit_latents as with_unit_latents
