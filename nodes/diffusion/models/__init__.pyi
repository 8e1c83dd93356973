from .active import ActiveModel as ActiveModel
from .saved_folders import (
    changed_tensors as changed_tensors,
    description_files as description_files,
    model_index as model_index,
    part_tensors as part_tensors,
    weight_parts as weight_parts,
)
from .vae_encoding import encode_pictures as encode_pictures
