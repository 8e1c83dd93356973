"""The parts of one model: each loaded on first use, frozen, shared between nodes and never changed for good."""

import hashlib
import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from nodes.diffusion.devices import DTYPES, Precision
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Part
from nodes.diffusion.families.registry import facts
from nodes.diffusion.formats.model_folders import read_config
from nodes.diffusion.formats.opening import stamp_of
from nodes.diffusion.formats.single_file.configurations import described
from nodes.diffusion.formats.single_file.header import is_single_file, numbers_of_part
from nodes.diffusion.formats.weight_files import files_read
from nodes.diffusion.handles.models import ModelInfo
from nodes.diffusion.models.loading import load_part, naming_part, part_from_file
from nodes.diffusion.models.residency import RESIDENT, PartKey, Residency


class ModelParts:
    """The parts of one model on one device in one precision; immutable.

    The parts themselves are in `residency`, under the identity of the weights: another `ModelParts` of the same weights
    gives the same objects. Whoever patches a part must put it back; see `ActiveModel`.
    """

    def __init__(
        self,
        folder: Path,
        device: torch.device,
        precision: Precision,
        info: ModelInfo,
        *,
        digest: str = "",
        initial_seed: int | None = None,
        moving_average: bool = False,
        elsewhere: Mapping[str, Path] | None = None,
        files: Mapping[str, Path] | None = None,
        unet_weights: Path | None = None,
        residency: Residency = RESIDENT,
    ) -> None:
        self.folder = folder
        """A diffusers folder, or a checkpoint in one file."""
        self.device = device
        self.precision: Precision = precision
        self.info = info
        self.initial_seed = initial_seed
        self.moving_average = moving_average
        self.elsewhere = elsewhere or {}
        """Folders of parts by name, when the parts are in several folders."""
        self.files = files or {}
        """Files of parts that are not in the model's own file or folder, by the folder's name."""
        self.unet_weights = unet_weights
        """Weights that take the place of those in the UNet's folder."""
        self.residency = residency
        self._stamps = stamps_of(self._places)
        weights = unet_weights.name if unet_weights else ""
        self.identity = f"{digest} {initial_seed} {moving_average} {weights} {self._stamps} {device} {precision}"

    @property
    def dtype(self) -> torch.dtype:
        return DTYPES[self.precision]

    @property
    def _places(self) -> Iterable[Path]:
        return (*(self.elsewhere.values() or (self.folder,)), *self.files.values())

    def folder_of(self, name: str) -> Path:
        """Return the folder of one part, such as `unet`; of a single file's, which holds descriptions alone."""
        return self.elsewhere.get(name) or described(self.folder) / next((part.folder for part in self._named(name)), name)

    def _named(self, name: str) -> Iterator[Part]:
        """Yield the family's part that is called so, by its name or by its folder's; none for a CLIP's image side."""
        return (part for part in facts(self.info.family).parts if name in (part.name, part.folder))

    def names(self, kind: str) -> list[str]:
        """Return the names of the parts of a kind, `text_encoder` or `tokenizer`, in order of use."""
        return [name for name in self.info.text_parts if name.startswith(kind)]

    def key(self, name: str) -> PartKey:
        """Return what a part is kept under."""
        return (self.identity, name)

    def part(self, name: str) -> Any:
        """Return one part, loaded now if it is not in memory: a module, or for `tokenizer` a tokenizer."""
        return self.kept(name, lambda: self._tokenizer(name) if name.startswith("tokenizer") else self._module(name))

    def kept(self, name: str, make: Callable[[], Any]) -> Any:
        """Return what is in memory under a name, made now and kept if there is nothing.

        When the model's files have been replaced since this object was made, nobody else is given what was loaded.
        """
        if (found := self.residency.find(self.key(name))) is not None:
            return found
        self.residency.make_room(self.device, self._bytes_of_files(name))
        made = make()
        if stamps_of(self._places) == self._stamps:
            self.residency.keep(self.key(name), self.device, made)
        else:
            self.residency.forget(self.identity)
        return made

    def _bytes_of_files(self, name: str) -> int:
        """Return the bytes of the weights that a part is read from; 0 for one without weights."""
        folder = next((part.folder for part in self._named(name)), name)
        if folder in self.files:
            return self.files[folder].stat().st_size
        if is_single_file(self.folder):
            return numbers_of_part(self.folder, folder, facts(self.info.family)) * self.dtype.itemsize
        return sum(file.stat().st_size for file in files_read(self.elsewhere.get(name) or self.folder / folder))

    def _module(self, name: str) -> Any:
        part = next(self._named(name))
        module = self._loaded(part, name, **{"torch_dtype" if part.library == "diffusers" else "dtype": self.dtype})
        if name == "unet" and self.unet_weights:
            put_weights(module, load_file(self.unet_weights))
        return module

    def _loaded(self, part: Part, name: str, **dtype: torch.dtype) -> Any:
        stated = read_config(self.folder_of(name) / "config.json").get("architectures") or [] if part.other_classes else []
        cls = class_of(part, next((other for other in stated if other in part.other_classes), part.cls))
        file = self.files.get(part.folder, self.folder)
        if is_single_file(file):
            family, average = facts(self.info.family), self.moving_average
            config = self.folder_of(name)
            return part_from_file(cls, file, config, family, self.device, *dtype.values(), moving_average=average)
        return load_part(cls, self.folder_of(name), self.device, initial_seed=self.initial_seed, **dtype)

    def _tokenizer(self, name: str) -> Any:
        """One tokenizer, whose length is never more than its encoder can see: older folders do not state it."""
        with naming_part(name):
            tokenizer: Any = class_of(next(self._named(name))).from_pretrained(self.folder_of(name), local_files_only=True)
            config = read_config(self.folder_of(name.replace("tokenizer", "text_encoder")) / "config.json")
            tokenizer.model_max_length = min(tokenizer.model_max_length, config.get("max_position_embeddings", 77))
        return tokenizer


def class_of(part: Part, name: str = "") -> Any:
    """Return the class of a part, or another of its library by name."""
    return getattr(importlib.import_module(part.library), name or part.cls)


def put_weights(unet: torch.nn.Module, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write weights over a UNet's own; raise InputError unless each has a place of its size."""
    own = dict(unet.named_parameters())
    given = {name.removeprefix("unet."): tensor for name, tensor in tensors.items()}
    wrong = [name for name, tensor in given.items() if name not in own or own[name].shape != tensor.shape]
    if wrong or not given:
        message = f"the weight {wrong[0]} has no place of its size in the UNet." if wrong else "the file holds no weights."
        raise InputError(message, field="model", remedy="Choose the base that the weights were trained from.")
    with torch.no_grad():
        for name, tensor in given.items():
            own[name].copy_(tensor)


def stamps_of(places: Iterable[Path]) -> str:
    """Return what changes when a file of a model is written over or replaced: weights in memory may be mapped from it."""
    found = (path for place in places for path in (place, *sorted(place.glob("*")), *sorted(place.glob("*/*"))))
    files = [path for path in found if path.is_file()]
    return hashlib.sha256(repr([stamp_of(file) for file in files]).encode()).hexdigest()
