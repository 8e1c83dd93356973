"""Metadata in every artifact: the workflow that made it, digests of its inputs, library versions."""

import json
import os
import pickletools
import platform
import re
import struct
import zipfile
import zlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, requires, version
from itertools import islice
from pathlib import Path, PurePath
from typing import Any

from graph_runtime.context import METADATA_KEY
from graph_runtime.node import NodeType
from graph_runtime.reading import open_regular
from graph_runtime.workflow import NodeEntry, Workflow

MAX_HEADER = 24 * 2**20
"""Most bytes of a header: parsed JSON takes up to 25 times its length, and headers of models have about one megabyte."""
MAX_OPCODES = 500_000
"""Most opcodes of a pickle; files of this program have some thousands."""


@cache
def library_versions() -> dict[str, str]:
    """Return the versions of Python, of this program and of the libraries it needs, without importing them."""
    needed = [re.split(r"[^\w.-]", text)[0] for text in requires("latentloom") or () if "extra ==" not in text]
    return {"python": platform.python_version(), **{name: _version(name) for name in sorted(["latentloom", *needed])}}


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def carried_document(workflow: Workflow, palette: Mapping[str, NodeType]) -> dict[str, Any]:
    """Return the workflow for the metadata of its artifacts; paths outside the workspace are reduced to their last name."""
    document = workflow.to_json()
    for id, entry in workflow.nodes.items():
        _shorten(entry, palette, document["nodes"][id])
    for name, subgraph in workflow.subgraphs.items():
        for id, entry in subgraph.nodes.items():
            _shorten(entry, palette, document["subgraphs"][name]["nodes"][id])
    return document


def _shorten(entry: NodeEntry, palette: Mapping[str, NodeType], shown: dict[str, Any]) -> None:
    for name in palette[entry.type].path_fields if entry.type in palette else ():
        value = entry.fields.get(name)
        if isinstance(value, str) and PurePath(value).is_absolute():
            shown["fields"][name] = PurePath(value).name


def read_provenance(path: Path) -> dict[str, Any] | None:
    """Return the provenance in an artifact (safetensors, PNG, hypernetwork): workflow, inputs, versions; None without any.

    Raises ValueError when the content does not match the file's suffix.
    """
    with open_regular(path) as file:
        start = file.read(8)
        text = None
        if start == b"\x89PNG\r\n\x1a\n":
            try:
                text = _png_text(path, METADATA_KEY)
            except (zlib.error, IndexError, ValueError):
                raise ValueError(f"A text inside {path.name} is damaged.") from None
        elif path.suffix.lower() == ".safetensors":
            text = safetensors_metadata(path).get(METADATA_KEY)
        elif path.suffix.lower() == ".pt":
            text = _text_in_pickle(path, "optional_info")
    try:
        carried = json.loads(text) if text else None
    except (ValueError, RecursionError):
        carried = None
    return carried if isinstance(carried, dict) and "workflow" in carried else None


def safetensors_header(path: Path) -> dict[str, Any]:
    """Return the JSON header of a safetensors file; raise ValueError when it has none."""
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        if not 2 <= length <= min(size - 8, MAX_HEADER):
            raise ValueError(f"{path.name} is not a safetensors file, or it is cut off.")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            raise ValueError(f"The header of {path.name} is damaged.") from None
    if not isinstance(header, dict):
        raise ValueError(f"The header of {path.name} is damaged.")
    return header


def safetensors_metadata(path: Path) -> dict[str, str]:
    """Return the metadata (name to text) in a safetensors file's header."""
    metadata = safetensors_header(path).get("__metadata__", {})
    return {key: text for key, text in metadata.items() if isinstance(text, str)} if isinstance(metadata, dict) else {}


def _text_in_pickle(path: Path, key: str) -> str | None:
    """Return the text that follows a key in a PyTorch file, read from the opcodes of its pickle: nothing is executed."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            pickled = archive.getinfo("archive/data.pkl")
            opcodes = pickletools.genops(archive.read(pickled) if pickled.file_size <= MAX_HEADER else b"")
            texts = [argument for opcode, argument, _ in islice(opcodes, MAX_OPCODES) if "UNICODE" in opcode.name]
    except (zipfile.BadZipFile, KeyError, ValueError, EOFError, NotImplementedError, RuntimeError, zlib.error):
        return None
    return texts[texts.index(key) + 1] if key in texts[:-1] else None


def _png_text(path: Path, wanted: str) -> str | None:
    """Return the first text under a keyword in a PNG (tEXt, zTXt and iTXt of the PNG specification, 11.3.4)."""
    with open_regular(path) as file:
        file.seek(8)
        while len(head := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", head)
            content = file.read(length) if kind in (b"tEXt", b"zTXt", b"iTXt") and length <= MAX_HEADER else b""
            keyword, _, rest = content.partition(b"\0")
            if keyword.decode("latin-1") == wanted:
                return _text_of(kind, rest)
            file.seek(length - len(content) + 4, 1)
    return None


def _text_of(kind: bytes, rest: bytes) -> str:
    if kind == b"tEXt":
        return rest.decode("latin-1")
    if kind == b"zTXt":
        return _decompressed(rest[1:]).decode("latin-1")
    compressed, content = rest[0], rest[2:].split(b"\0", 2)[2]
    return (_decompressed(content) if compressed else content).decode("utf-8")


def _decompressed(content: bytes) -> bytes:
    """Return decompressed bytes; raise ValueError when they are longer than MAX_HEADER or truncated."""
    stream = zlib.decompressobj()
    found = stream.decompress(content, MAX_HEADER)
    if not stream.eof:
        raise ValueError("the text is too long")
    return found
