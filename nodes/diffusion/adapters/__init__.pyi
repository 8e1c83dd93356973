from .aesthetic_files import mean_embedding as mean_embedding, projection_for as projection_for, read_embedding as read_embedding
from .changed_weights import (
    attention_layers as attention_layers,
    check_places as check_places,
    is_unused as is_unused,
    tensors_of as tensors_of,
)
from .custom_diffusion_files import (
    processor_bytes as processor_bytes,
    read_processors as read_processors,
    token_bytes as token_bytes,
)
from .custom_diffusion_merge import Concept as Concept, merge_concepts as merge_concepts
from .hypernetwork.apply import attention_names as attention_names
from .hypernetwork.files import a1111_hypernetwork as a1111_hypernetwork, read_hypernetwork as read_hypernetwork
from .lora.algorithms import fits as fits
from .lora.apply import adapter_tensors as adapter_tensors
from .lora.read import read_lora as read_lora
from .lora.targets import (
    denoiser_layers as denoiser_layers,
    layer_shapes as layer_shapes,
    text_encoder_targets as text_encoder_targets,
    unet_targets as unet_targets,
)
from .lora.write import (
    diffusers_config as diffusers_config,
    diffusers_tensors as diffusers_tensors,
    kohya_tensors as kohya_tensors,
)
from .model_in_use import model_in_use as model_in_use
from .modelspec import (
    architecture_of as architecture_of,
    kohya_metadata as kohya_metadata,
    modelspec_metadata as modelspec_metadata,
)
from .textual_inversion_files import (
    a1111_embedding as a1111_embedding,
    bundled_tensors as bundled_tensors,
    check_widths as check_widths,
    file_tensors as file_tensors,
    read_vectors as read_vectors,
    usage_hint as usage_hint,
    vectors_of as vectors_of,
    word_vectors as word_vectors,
)
