"""Writing of safetensors with the same bytes for the same content; the library's order of metadata varies by process."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

NAMES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32", torch.int64: "I64"}


def tensor_bytes(tensors: Mapping[str, Tensor]) -> bytes:
    """Return the data of all tensors in the order of the file."""
    return b"".join(_bytes(tensors[name]) for name in _in_order(tensors))


def safetensors_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str], data: bytes) -> bytes:
    """Return a whole file: length, header padded to 8 bytes, then `data` as `tensor_bytes` gave it."""
    return _header([(name, tensors[name]) for name in _in_order(tensors)], metadata) + data


def write_one_by_one(path: Path, tensors: Iterable[tuple[str, Tensor]]) -> None:
    """Write tensors of one dtype in the given order, with one in memory at a time."""
    shadows: list[tuple[str, Tensor]] = []
    with tempfile.TemporaryFile(dir=path.parent) as data, path.open("wb") as file:
        for name, tensor in tensors:
            data.write(_bytes(tensor))
            shadows.append((name, tensor.to("meta")))
        data.seek(0)
        file.write(_header(shadows, {}))
        shutil.copyfileobj(data, file, 2**20)


def header_bytes(tensors: Iterable[tuple[str, str, Sequence[int], int]], metadata: Mapping[str, str]) -> bytes:
    """Return length and header, padded to 8 bytes; `tensors` are names, dtypes, shapes and numbers of bytes, in order."""
    header: dict[str, object] = {"__metadata__": dict(sorted(metadata.items()))}
    start = 0
    for name, dtype, shape, size in tensors:
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _header(tensors: Iterable[tuple[str, Tensor]], metadata: Mapping[str, str]) -> bytes:
    return header_bytes(((name, NAMES[t.dtype], t.shape, t.numel() * t.element_size()) for name, t in tensors), metadata)


def _in_order(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return names by element size, then alphabet, so that every tensor is aligned to its element size."""
    return sorted(tensors, key=lambda name: (-tensors[name].element_size(), name))


def _bytes(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
