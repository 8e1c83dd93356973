"""The table of file formats, which all readers of model files ask; and who reads a safetensors header."""

import re
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from graph_runtime.context import METADATA_KEY
from graph_runtime.provenance import read_provenance, safetensors_header
from graph_runtime.reports import inspect_report
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.checkpoint_headers import read_file_header
from nodes.diffusion.formats.file_formats import FORMATS, FileFormat, FileHeader, is_safetensors
from nodes.diffusion.formats.safetensors_header import read_header
from nodes.diffusion.formats.single_file.header import is_single_file, read_single_file
from nodes.diffusion.formats.single_file.reading import opened
from web.api.files import _kind  # pyright: ignore[reportPrivateUsage]
from web.api.uploads import _check_content  # pyright: ignore[reportPrivateUsage]

ROOT = Path(__file__).parent.parent
READERS = {"graph_runtime/provenance.py", "nodes/diffusion/formats/safetensors_header.py"}
"""The runtime may import no node and the core no runtime, so each has one."""
LENGTH = re.compile(r"""from_bytes\(.*["']little["']|["']<Q["']""")
"""How the 8 bytes before a header are read."""


def toy_header(path: Path) -> FileHeader:
    name, _, numbers = path.read_text().partition("=")
    return FileHeader({name: (len(numbers.split()),)}, {name: "F32"})


@contextmanager
def toy_tensors(path: Path) -> Generator[Any]:
    yield lambda name: torch.tensor([float(number) for number in path.read_text().partition("=")[2].split()])


def test_a_format_is_one_row(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (file := tmp_path / "model.TOY").write_text("weight=1 2 3")
    assert not is_single_file(file)
    assert _kind(file) == "file"
    monkeypatch.setitem(FORMATS, ".toy", FileFormat("toy", toy_header, toy_tensors, is_listed=True, is_uploaded=True))
    assert is_single_file(file)
    assert read_single_file(file).shapes == {"weight": (3,)}
    with opened(file) as tensor_of:
        assert tensor_of("weight").tolist() == [1, 2, 3]
    assert _kind(file) == "model"
    _check_content(file, file.name)
    with pytest.raises(InputError, match="no safetensors file, which merges need"):
        read_file_header(file)


def test_only_the_table_decides_what_a_suffix_of_models_means() -> None:
    """Names of files that are written, globs in folders and sentences may have them; comparisons may not."""
    suffixes = "|".join(map(re.escape, FORMATS))
    compared = re.compile(rf"""(==|!=|\bin\b|endswith\()\s*[({{]?["']({suffixes})["']""")
    files = [path for folder in ("nodes", "web/api") for path in (ROOT / folder).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in files if compared.search(path.read_text())}
    assert found == {"nodes/output/save_hypernetwork.py"}, "it compares a name that is written"


@pytest.mark.parametrize("name", ["m.safetensors", "M.SAFETENSORS"])
def test_suffixes_mean_the_same_in_both_cases(name: str, tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / name, {METADATA_KEY: '{"workflow": {}}', "title": "x"})
    assert is_safetensors(tmp_path / name)
    assert read_provenance(tmp_path / name) == {"workflow": {}}
    assert "title" in inspect_report(tmp_path / name, workflow=False, as_json=True)


def test_two_files_read_safetensors_headers() -> None:
    files = [path for folder in ("nodes", "graph_runtime", "web/api") for path in (ROOT / folder).rglob("*.py")]
    found = {path.relative_to(ROOT).as_posix() for path in files if LENGTH.search(path.read_text())}
    assert found == READERS


@pytest.mark.parametrize(
    "content",
    [b"", b"\x02\0\0\0\0\0\0", b"\x01\0\0\0\0\0\0\0{", b"\x04\0\0\0\0\0\0\0{}", b"\x02\0\0\0\0\0\0\0[]", b"\xff" * 16],
    ids=["empty", "no length", "too short", "cut off", "no object", "too long"],
)
def test_both_refuse_the_same(content: bytes, tmp_path: Path) -> None:
    (file := tmp_path / "x.safetensors").write_bytes(content)
    assert is_refused(read_header, file)
    assert is_refused(safetensors_header, file)


def test_both_read_the_same(tmp_path: Path) -> None:
    (file := tmp_path / "x.safetensors").write_bytes(b"\x14\0\0\0\0\0\0\0" + b'{"__metadata__":{} }')
    assert read_header(file)[0] == safetensors_header(file) == {"__metadata__": {}}


def is_refused(read: Callable[[Path], object], file: Path) -> bool:
    try:
        read(file)
    except ValueError:
        return True
    return False
