"""A small description of a result: exact for what holds no computed floats, a few numbers with a tolerance for the rest."""

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from graph_runtime.context import METADATA_KEY

TOLERANCES = {"tensors": 1e-4, "pictures": 5e-3, "numbers": 1e-3}
"""How far numbers of each kind may lie apart, as a share of their norm, on machines that add up in the same order."""
ELSEWHERE = 0.05
"""How far norms may lie apart on other machines: Adam's first steps go by the signs of gradients, and those near zero are of
either sign. Other sums do not count there, as singular vectors are of either sign too."""
PICTURES = (".png", ".webp", ".jpg")
TEXTS = (".txt", ".md", ".html", ".json", ".csv")
HEX = re.compile(r"\b[0-9a-f]{8,}\b")
NUMBER = re.compile(r"-?\d+\.\d+(?:e-?\d+)?")
INSIDE_PAGES = re.compile(r"data:image/[^\"]*|<script.*?</script>", re.DOTALL)


class Fingerprint:
    """Takes in a result piece by piece; `outside` are digests of files that the run has read, which are no computed floats."""

    def __init__(self, outside: frozenset[str]) -> None:
        self._outside = outside
        self._exact = hashlib.sha256()
        self._sums = {kind: np.zeros(3) for kind in TOLERANCES}
        self._count = 0

    def to_json(self) -> dict[str, Any]:
        """Return what is recorded."""
        sums = {kind: [float(f"{x:.8g}") for x in found] for kind, found in self._sums.items() if found.any()}
        return {"exact": self._exact.hexdigest()[:16], **sums}

    def add(self, value: Any) -> "Fingerprint":
        """Take in a value as it is on a wire, with the files that it names.

        Fields that do not count in comparisons are left out.
        """
        if isinstance(value, Path):
            self._file(value)
        elif dataclasses.is_dataclass(value):
            self.add({each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.compare})
        elif isinstance(value, dict):
            for name, item in value.items():
                self._fact(name)
                self.add(item)
        elif isinstance(value, list | tuple):
            self._fact(f"list of {len(value)}")
            for item in value:
                self.add(item)
        elif isinstance(value, float):
            self._numbers("numbers", np.array([value]))
        elif isinstance(value, str):
            self._text(value)
        else:
            self._fact(repr(value))
        return self

    def _fact(self, text: str) -> None:
        self._exact.update(f"{len(text)}:{text}".encode())

    def _text(self, text: str) -> None:
        """Take in a text: digests of what was computed are left out, decimal fractions are numbers."""
        known = HEX.sub(lambda found: found[0] if found[0] in self._outside else "HEX", text)
        self._fact(NUMBER.sub("NUMBER", known))
        self._numbers("numbers", np.array([float(found) for found in NUMBER.findall(known)]))

    def _numbers(self, kind: str, values: np.ndarray) -> None:
        """Add values to the three sums of their kind: squares, themselves, and themselves along a ramp."""
        self._count += 1
        x = np.nan_to_num(values.astype(np.float64).ravel())
        share = 1 + 0.1 * np.sin(self._count)  # so that pieces that change places are seen
        self._sums[kind] += [float(x @ x), share * x.sum(), share * float(x @ np.linspace(-1, 1, x.size))]

    def _file(self, path: Path) -> None:
        self._fact(path.suffix)
        if path.suffix in PICTURES:
            with Image.open(path) as image:
                self._fact(f"{image.size} {image.mode} {sorted(image.info)}")
                self._numbers("pictures", np.asarray(image))
        elif path.suffix == ".safetensors":
            self._safetensors(path)
        elif path.suffix in (".pt", ".bin", ".ckpt"):
            self._loaded(torch.load(path, weights_only=True))
        elif path.suffix in TEXTS:
            self._text(INSIDE_PAGES.sub("", path.read_text()))
        else:
            self._fact(f"{path.stat().st_size} bytes")

    def _safetensors(self, path: Path) -> None:
        with safe_open(path, "pt") as file:
            told = {name: text for name, text in (file.metadata() or {}).items() if name != METADATA_KEY and "hash" not in name}
            self._text(json.dumps(told, sort_keys=True))
            for name in sorted(file.keys()):
                self._fact(name)
                self._loaded(file.get_tensor(name))

    def _loaded(self, value: Any) -> None:
        """Take in what a PyTorch file holds; the workflow inside it is none of the node's."""
        if isinstance(value, torch.Tensor):
            self._fact(f"{value.dtype} {tuple(value.shape)}")
            self._numbers("tensors", value.detach().float().numpy())
        elif isinstance(value, Mapping):
            for name, item in value.items():
                if name != "optional_info":
                    self._fact(str(name))
                    self._loaded(item)
        elif isinstance(value, list | tuple):
            self._fact(f"list of {len(value)}")
            for item in value:
                self._loaded(item)
        elif isinstance(value, str):
            self._text(value)
        else:
            self._fact(repr(value))


def is_alike(recorded: Mapping[str, Any], found: Mapping[str, Any], *, elsewhere: bool = False) -> bool:
    """Whether two fingerprints are of the same result; `elsewhere` says that they are of machines that differ."""
    if recorded["exact"] != found["exact"] or recorded.keys() != found.keys():
        return False
    for kind in recorded.keys() - {"exact"}:
        (squares, *sums), (other_squares, *others) = recorded[kind], found[kind]
        norm, allowed = squares**0.5, ELSEWHERE if elsewhere else TOLERANCES[kind]
        if abs(norm - other_squares**0.5) > allowed * norm:
            return False
        if not elsewhere and any(abs(a - b) > allowed * (norm + abs(a)) for a, b in zip(sums, others, strict=True)):
            return False
    return True
