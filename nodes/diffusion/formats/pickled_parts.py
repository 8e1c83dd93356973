"""Parts of a model with weights in PyTorch's pickles, as in folders from before safetensors."""

from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor
from transformers import PreTrainedModel

from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.formats.pickles import pickled_tensors
from nodes.diffusion.formats.weight_files import files_read


def part_from_pickles(cls: Any, folder: Path, **dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """Return one part and its library's loading report; the library gets tensors, and opens no pickle itself."""
    tensors = pickled_weights(folder)
    if issubclass(cls, PreTrainedModel):
        made: Any = cls
        config = made.config_class.from_pretrained(folder, local_files_only=True)
        options = {"output_loading_info": True, "ignore_mismatched_sizes": True, **dtype}
        return made.from_pretrained(None, config=config, state_dict=tensors, **options)
    with init_empty_weights():
        module = cls.from_config(read_config(folder / "config.json"))
    # old names of attention in a VAE
    module._fix_state_dict_keys_on_load(tensors)
    wanted = {name: tensor.shape for name, tensor in module.state_dict().items()}
    missing = [name for name in wanted if name not in tensors]
    mismatched = [(name, tensors[name].shape, shape) for name, shape in wanted.items() if name not in missing]
    mismatched = [entry for entry in mismatched if entry[1] != entry[2]]
    if not missing and not mismatched:
        kept = {name: _cast(tensors[name], *dtype.values()) for name in wanted}
        module.load_state_dict(kept, assign=True)
    return module, {"missing_keys": missing, "mismatched_keys": mismatched}


def _cast(tensor: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    return tensor.to(dtype if tensor.is_floating_point() else None).contiguous()


def pickled_weights(part: Path) -> dict[str, Tensor]:
    """Return the tensors of a part's pickles, mapped into memory; raise InputError for one that holds more than data."""
    return {name: tensor for file in files_read(part) for name, tensor in pickled_tensors(file).items()}
