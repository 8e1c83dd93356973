"""Models in memory: loaded part by part on first use, shared between nodes, the least recently used evicted."""

import hashlib
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
from diffusers.utils import logging as diffusers_logging
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer, PreTrainedModel
from transformers.utils import logging as transformers_logging

from nodes.diffusion.devices import DTYPES, Precision
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import AGAIN, ModelFacts, inspect_folder, read_config
from nodes.diffusion.formats.opening import stamp_of
from nodes.diffusion.formats.pickled_parts import part_from_pickles
from nodes.diffusion.formats.single_file.configurations import described
from nodes.diffusion.formats.single_file.header import is_single_file
from nodes.diffusion.formats.single_file.reading import fill
from nodes.diffusion.formats.weight_files import is_pickled, weights_variant
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.models.extra_unet_channels import fill_channels
from nodes.diffusion.randomness import seed_for

transformers_logging.disable_progress_bar()  # the run has its own
# what they would warn of is an InputError here, or counted and reported once
transformers_logging.set_verbosity_error()
diffusers_logging.set_verbosity(diffusers_logging.CRITICAL)


class StableDiffusion:
    """The parts of one model on one device, frozen and in evaluation mode; nobody may leave them changed."""

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        precision: Precision,
        facts: ModelFacts | None = None,
        initial_seed: int | None = None,
        moving_average: bool = False,
    ) -> None:
        self.folder = folder
        """A diffusers folder, or a checkpoint in one file."""
        self.stamps = stamps_of(self.places)
        self.initial_seed = initial_seed
        self.moving_average = moving_average
        self.device = device
        self.precision: Precision = precision
        self.facts: ModelFacts = facts or inspect_folder(folder, weights=initial_seed is None)
        self.words: dict[str, list[torch.Tensor]] = {}
        """Placeholders that prompts may use now, and their vectors [k, d] for each text encoder."""
        self.aesthetic: Any = None
        """What positive prompts are tuned to now."""
        self.max_token_length = 75
        """Tokens that texts may have, as the handle says that was loaded last."""
        self.training_step: tuple[int, int] | None = None
        """Step and micro step of the training that goes on now, for what layers draw at random."""

    @property
    def places(self) -> Iterable[Path]:
        """Where its weights lie."""
        return (self.folder,)

    def part(self, name: str) -> Path:
        """Return the folder of one part, such as `unet`; of a single file's, which holds descriptions alone."""
        return described(self.folder) / name

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """Takes noisy latents alone, whatever channels more it was built for: see `fill_channels`."""
        unet = self._ready(UNet2DConditionModel, "unet", torch_dtype=self.dtype)
        fill_channels(unet, self.facts.purpose, _vae_of(weakref.ref(self)))
        return unet

    @cached_property
    def vae(self) -> AutoencoderKL:
        return self._ready(AutoencoderKL, "vae", torch_dtype=self.dtype)

    @cached_property
    def text_encoders(self) -> list[torch.nn.Module]:
        parts = [part for part in self.facts.text_parts if part.startswith("text_encoder")]
        return [self._ready(self._text_class(part), part, dtype=self.dtype) for part in parts]

    @cached_property
    def tokenizers(self) -> list[Any]:
        parts = [part for part in self.facts.text_parts if part.startswith("tokenizer")]
        return [self._tokenizer(part) for part in parts]

    @cached_property
    def noise_scheduler(self) -> DDPMScheduler:
        """The forward process of the model's training (DDPM, Ho et al. 2020), with its prediction type."""
        with _damage_named("scheduler"):
            scheduler: Any = DDPMScheduler.from_config(self.scheduler_config)
        return scheduler

    @property
    def scheduler_config(self) -> dict[str, Any]:
        """The scheduler's settings as the folder states them, with what the model is taken to predict."""
        stated = read_config(self.part("scheduler") / "scheduler_config.json")
        return {**stated, "prediction_type": self.facts.prediction_type}

    def loaded_bytes(self) -> int:
        """Return the bytes of the parts that are in memory."""
        modules = [vars(self).get("unet"), vars(self).get("vae"), *vars(self).get("text_encoders", [])]
        return sum(p.numel() * p.element_size() for module in modules if module is not None for p in module.parameters())

    def _text_class(self, part: str) -> Any:
        architectures = read_config(self.part(part) / "config.json").get("architectures") or ["CLIPTextModel"]
        return CLIPTextModelWithProjection if "WithProjection" in architectures[0] else CLIPTextModel

    def _tokenizer(self, part: str) -> Any:
        """One tokenizer, whose length is never more than its encoder can see: older folders do not state it."""
        with _damage_named(part):
            tokenizer: Any = CLIPTokenizer.from_pretrained(self.part(part), local_files_only=True)
            config = read_config(self.part(part.replace("tokenizer", "text_encoder")) / "config.json")
            tokenizer.model_max_length = min(tokenizer.model_max_length, config.get("max_position_embeddings", 77))
        self._confirm()
        return tokenizer

    def _ready(self, cls: Any, part: str, **dtype: torch.dtype) -> Any:
        make_room(self)
        if is_single_file(self.folder):
            file, average = self.folder, self.moving_average
            made = part_from_file(cls, file, part, self.device, *dtype.values(), moving_average=average)
        else:
            made = load_part(cls, self.part(part), self.device, initial_seed=self.initial_seed, **dtype)
        self._confirm()
        return made

    def _confirm(self) -> None:
        """Let nobody else have this model when its files have been replaced since it was begun; who has it finds out alone."""
        if stamps_of(self.places) != self.stamps:
            for key in [key for key, model in _resident.items() if model is self]:
                del _resident[key]


def part_from_file(
    cls: Any, file: Path, part: str, device: torch.device, dtype: torch.dtype | None = None, *, moving_average: bool = False
) -> Any:
    """Return one part of a checkpoint in one file, frozen and in evaluation mode; without `dtype`, with the file's numbers."""
    with _damage_named(part):
        with init_empty_weights():
            module = _made(cls, described(file) / part)
        fill(module, file, part, device, dtype, moving_average=moving_average)
    return module.to(device).requires_grad_(False).eval()


def load_part(cls: Any, folder: Path, device: torch.device, *, initial_seed: int | None = None, **dtype: torch.dtype) -> Any:
    """Return one part of a model, frozen and in evaluation mode, from weights on this disk and nothing else.

    With `initial_seed` no weights are read: they are drawn from it, as the part's library begins a training.
    """
    if initial_seed is not None:
        return _drawn(cls, folder, initial_seed).to(device, *dtype.values()).requires_grad_(False).eval()
    options = {"local_files_only": True, "use_safetensors": True, "variant": weights_variant(folder)}
    report = {"output_loading_info": True, "ignore_mismatched_sizes": True}
    with _damage_named(folder.name):
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


def _drawn(cls: type[Any], folder: Path, seed: int) -> Any:
    with _damage_named(folder.name), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_for(seed, folder.name))  # the libraries draw from the global generator
        return _made(cls, folder)


def _made(cls: type[Any], folder: Path) -> Any:
    """One part as its library makes it."""
    config = read_config(folder / "config.json")
    if issubclass(cls, PreTrainedModel):
        configured: Any = cls.config_class
        return cls(configured(**config))
    return cls.from_config(config)


@contextmanager
def _damage_named(part: str) -> Generator[None]:
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


_resident: OrderedDict[tuple[str, str, str], StableDiffusion] = OrderedDict()


def load(model: DiffusionModel, folder: Path, *, device: torch.device, precision: Precision = "fp32") -> StableDiffusion:
    """Return the model in memory: the same object for every node that asks for the same weights, device and precision."""
    identity = f"{model.digest} {model.prediction_type} {model.initial_seed} {model.moving_average} {stamps_of([folder])}"

    def made() -> StableDiffusion:
        stated = inspect_folder(folder, weights=model.initial_seed is None)
        facts = replace(stated, prediction_type=model.prediction_type)
        return StableDiffusion(folder, device, precision, facts, model.initial_seed, model.moving_average)

    loaded = resident((identity, str(device), precision), made)
    loaded.folder = folder  # the same content may have moved
    loaded.max_token_length = model.max_token_length
    return loaded


def _vae_of(model: "weakref.ref[StableDiffusion]") -> Callable[[], torch.nn.Module]:
    """Return the way to a model's VAE; it is weak because the model holds the UNet, which holds this."""

    def vae() -> torch.nn.Module:
        found = model()
        assert found is not None
        return found.vae

    return vae


def stamps_of(places: Iterable[Path]) -> str:
    """Return what changes when a file of a model is written over or replaced: weights in memory may be mapped from it."""
    found = (path for place in places for path in (place, *sorted(place.glob("*")), *sorted(place.glob("*/*"))))
    files = [path for path in found if path.is_file()]
    return hashlib.sha256(repr([stamp_of(file) for file in files]).encode()).hexdigest()


def resident(key: tuple[str, str, str], make: Callable[[], StableDiffusion]) -> StableDiffusion:
    """Return the model that is in memory under `key`, made now if there is none."""
    if key not in _resident:
        _resident[key] = make()
    _resident.move_to_end(key)
    return _resident[key]


def make_room(wanted: StableDiffusion) -> None:
    """Let go of the models used longest ago while those on the device fill more than half of its memory."""
    there = {key: model for key, model in _resident.items() if model.device == wanted.device}
    doomed = [key for key, model in there.items() if model is not wanted]
    while doomed and sum(model.loaded_bytes() for model in there.values()) > memory_of(wanted.device) // 2:
        key = doomed.pop(0)
        del there[key], _resident[key]


def memory_of(device: torch.device) -> int:
    """Return the bytes of memory that a device has."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 8 * 2**30
