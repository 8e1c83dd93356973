"""One part of a model from its files to memory, frozen and in evaluation mode."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers.utils import logging as diffusers_logging
from transformers import PreTrainedModel
from transformers.utils import logging as transformers_logging

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Facts
from nodes.diffusion.formats.model_folders import AGAIN, read_config
from nodes.diffusion.formats.pickled_parts import part_from_pickles
from nodes.diffusion.formats.single_file.reading import fill
from nodes.diffusion.formats.weight_files import is_pickled, weights_variant
from nodes.diffusion.randomness import seed_for

transformers_logging.disable_progress_bar()  # the run has its own
# what they would warn of is an InputError here, or is counted and reported once
transformers_logging.set_verbosity_error()
diffusers_logging.set_verbosity(diffusers_logging.CRITICAL)


def part_from_file(
    cls: Any,
    file: Path,
    config: Path,
    family: Facts,
    device: torch.device,
    dtype: torch.dtype | None = None,
    *,
    moving_average: bool = False,
) -> Any:
    """Return one part of a checkpoint in one file, frozen and in evaluation mode; without `dtype`, with the file's numbers.

    `config` is the folder that describes it, which has the part's name.
    """
    with naming_part(config.name):
        with init_empty_weights():
            module = _from_config(cls, config)
        fill(module, file, config.name, family, device, dtype, moving_average=moving_average)
    return module.to(device).requires_grad_(False).eval()


def load_part(cls: Any, folder: Path, device: torch.device, *, initial_seed: int | None = None, **dtype: torch.dtype) -> Any:
    """Return one part of a model, frozen and in evaluation mode, from weights on this disk and nothing else.

    With `initial_seed` no weights are read: the library initializes them at random from this seed, as for a new training.
    """
    if initial_seed is not None:
        return _initialized(cls, folder, initial_seed).to(device, *dtype.values()).requires_grad_(False).eval()
    options = {"local_files_only": True, "use_safetensors": True, "variant": weights_variant(folder)}
    report = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    with naming_part(folder.name):
        if is_pickled(folder):
            module, found = part_from_pickles(cls, folder, **dtype)
        else:
            module, found = cls.from_pretrained(folder, **options, **report, **dtype)
    # the libraries would fill such weights with random numbers
    missing = sorted(found["missing_keys"]) + sorted(name for name, _, _ in found["mismatched_keys"])
    if missing:
        message = f"{folder.name} lacks {len(missing)} weights of the shapes in its config.json, such as {missing[0]}."
        raise InputError(message, field="model", remedy=AGAIN)
    return module.to(device).requires_grad_(False).eval()


def _initialized(cls: type[Any], folder: Path, seed: int) -> Any:
    """Return one part with its first random weights."""
    with naming_part(folder.name), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, folder.name))  # the libraries draw from the global generator
        return _from_config(cls, folder)


def _from_config(cls: type[Any], folder: Path) -> Any:
    """Return one part as its library makes it from a configuration."""
    config = read_config(folder / "config.json")
    if issubclass(cls, PreTrainedModel):
        configured: Any = cls.config_class
        return cls(configured(**config))
    return cls.from_config(config)


@contextmanager
def naming_part(part: str) -> Generator[None]:
    """Turn what a library raises about a part's files, which may be anything, into an InputError that names the part."""
    try:
        yield
    except (InputError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        if "can't allocate memory" in str(error):  # the CPU's, a plain RuntimeError
            raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{part} cannot be loaded: {reason[0]}", field="model", remedy=AGAIN) from error
