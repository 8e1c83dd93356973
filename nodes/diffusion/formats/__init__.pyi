from .model_folders import info_of as info_of, inspect_folder as inspect_folder
from .open_model import open_model as open_model
from .pickles import pt_bytes as pt_bytes
from .safetensors_writer import (
    safetensors_bytes as safetensors_bytes,
    tensor_bytes as tensor_bytes,
    write_one_by_one as write_one_by_one,
)
from .single_file.checkpoint_tensors import marked as marked, of_file as of_file, of_folder as of_folder
from .single_file.configurations import (
    METADATA_NAME as METADATA_NAME,
    described as described,
    own_descriptions as own_descriptions,
)
from .single_file.header import read_single_file as read_single_file
from .single_file.writing import with_changes as with_changes, write_checkpoint as write_checkpoint
