"""A look through PyTorch files before they are read: what people have passes, what asks for more than it holds does not."""

import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nodes.diffusion.adapters.textual_inversion_files import read_vectors
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.pickle_checks import CodeRefused, Refused, look_through
from nodes.diffusion.formats.pickles import load_pickle, pickled_tensors

VECTORS = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))


class ModuleLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 2)


CONTENTS: dict[str, Any] = {
    "a tensor": VECTORS,
    "a state dict": ModuleLike().state_dict(),
    "kinds of numbers": {kind: torch.ones(4).to(getattr(torch, kind)) for kind in ("bfloat16", "int64", "bool", "float64")},
    "parts of one storage": {"a": VECTORS[:1], "b": VECTORS[1:], "all": VECTORS, "turned": VECTORS.T},
    "parameters": {"word": nn.Parameter(VECTORS), "grad": VECTORS.clone().requires_grad_()},
    "plain data": {"step": 3, "rates": [1e-4, None, True], "size": VECTORS.shape, "names": {"a"}, "dtype": torch.float16},
    "nothing": torch.zeros(0, 8),
}


def written(content: Any, folder: Path, **options: Any) -> Path:
    torch.save(content, path := folder / "x.pt", **options)
    return path


@pytest.mark.parametrize("old", [False, True], ids=["archive", "legacy"])
@pytest.mark.parametrize("kind", CONTENTS)
def test_what_people_have_is_read(tmp_path: Path, kind: str, old: bool) -> None:
    path = written(CONTENTS[kind], tmp_path, _use_new_zipfile_serialization=not old)
    found = load_pickle(path)
    assert type(found) is type(CONTENTS[kind])
    assert str(found) == str(CONTENTS[kind])


def test_fp8_is_read(tmp_path: Path) -> None:
    found = load_pickle(written({"a": torch.ones(4).to(torch.float8_e4m3fn)}, tmp_path))
    assert found["a"].dtype == torch.float8_e4m3fn


def test_the_first_programs_file_of_a_word_is_read(tmp_path: Path) -> None:
    content = {"string_to_token": {"*": torch.tensor(265)}, "string_to_param": nn.ParameterDict({"*": nn.Parameter(VECTORS)})}
    (found,) = read_vectors(written(content, tmp_path))
    assert torch.equal(found, VECTORS)


def archive(pickled: bytes, path: Path, records: dict[str, bytes], kind: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as made:
        made.writestr("archive/data.pkl", pickled)
        made.writestr("archive/version", b"3\n")
        for name, content in records.items():
            made.writestr(f"archive/data/{name}", content)
    return path


def called(module: str, name: str, *arguments: bytes) -> bytes:
    return f"c{module}\n{name}\n".encode() + b"(" + b"".join(arguments) + b"tR"


TEXT = b"X" + struct.pack("<I", 10_000) + b"x" * 10_000
LONG = b"\x8b" + struct.pack("<i", 20_000) + b"\x7f" * 20_000
ONE = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x01tQ"


def tensor(shape: bytes) -> bytes:
    """A tensor over four bytes; of its shape, what stands between the parentheses."""
    return called("torch._utils", "_rebuild_tensor_v2", ONE, b"K\0", b"(" + shape + b"t", b"(K\x01t", b"\x89", b"N")


HOSTILE: dict[str, bytes] = {
    "long numbers multiplied": b"\x80\x02" + LONG + b"q\x010" + tensor(b"h\x01" * 50) + b".",
    "long numbers as keys": b"\x80\x02" + LONG + b"q\x010}(" + b"h\x01K\x01" * 5000 + b"u.",
    "long decimal numbers": b"\x80\x02(" + (b"I" + b"9" * 4000 + b"\n") * 100 + b"t.",
    "keys of one hash": b"\x80\x02}("
    + b"".join(b"\x8a\x0b" + ((2**61 - 1) * n).to_bytes(11, "little") + b"K\x01" for n in range(1, 1100))
    + b"u.",
    "tuples of tuples as a key": b"\x80\x02)q\0"
    + b"".join(b"0h%ch%c\x86q%c" % (n, n, n + 1) for n in range(40))
    + b"0}(h\x28K\x01u.",
    "a large side": b"\x80\x02" + tensor(b"K\0\x8a\x07" + b"\0" * 6 + b"\1") + b".",
    "many dimensions": b"\x80\x02" + tensor(b"K\x01" * 65) + b".",
    "bytes of nothing": b"\x80\x02" + called("builtins", "bytearray", b"\x8a\x05" + (6 * 10**9).to_bytes(5, "little")) + b".",
    "a far place in the memo": b"\x80\x02}r\xff\xff\xff\x7f.",
    "copies of a text": b"\x80\x02]" + TEXT + b"q\x01" + b"0(" + called("_codecs", "encode", b"h\x01") * 5000 + b"e.",
    "copies of a list": b"\x80\x02](" + b"K\x01" * 9000 + b"eq\x010](" + called("torch", "Size", b"h\x01") * 300 + b"e.",
    "code": b"\x80\x02" + called("os", "system", b"X\x02\0\0\0ls") + b".",
    "another protocol": pickle.dumps({"a": 1}, 4),
    "cut off": b"\x80\x02X\xff\xff\xff\x7fabc",
    "no pickle": b"\xff\xfe",
    "numbers that are not there": b"\x80\x02(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuJ\0\0\0\x40tQ.",
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_asks_for_more_than_it_holds_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(Refused) as refused:
        look_through(archive(HOSTILE[kind], tmp_path / "x.pt", {"0": b"1234"}))
    assert isinstance(refused.value, CodeRefused) == (kind in ("bytes of nothing", "code"))
    with pytest.raises(InputError, match="cannot be read"):
        read_vectors(tmp_path / "x.pt")
    with pytest.raises(InputError, match="cannot be read"):
        pickled_tensors(tmp_path / "x.pt")


TENSORS: dict[str, Any] = {
    "a few numbers as many": lambda: torch.zeros(16).as_strided((2_000_000, 768), (0, 0)),
    "windows over the same": lambda: torch.zeros(1000).as_strided((500, 500), (1, 1)),
    "nested": lambda: torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
    "sparse": lambda: torch.sparse_coo_tensor(torch.zeros(2, 1), torch.ones(1), (10**6, 10**6)),
    "on no device": lambda: torch.zeros(10**6, 10**6, device="meta"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_that_are_not_plain_are_refused(tmp_path: Path, kind: str) -> None:
    path = written({"word": TENSORS[kind]()}, tmp_path)
    with pytest.raises(InputError, match="cannot be read as an embedding"):
        read_vectors(path)


def test_many_views_of_the_same_numbers_are_refused(tmp_path: Path) -> None:
    numbers = torch.zeros(100_000)
    path = written({str(n): numbers.view(1000, 100) for n in range(100)}, tmp_path)
    with pytest.raises(Refused, match="far larger than the file"):
        look_through(path)


def test_an_archive_that_grows_when_it_is_unpacked_is_refused(tmp_path: Path) -> None:
    zeros = io.BytesIO()
    torch.save(torch.zeros(10**6), zeros)
    with zipfile.ZipFile(zeros) as old:
        records = {name.rpartition("/")[2]: old.read(name) for name in old.namelist() if "/data/" in name}
        pickled = next(old.read(name) for name in old.namelist() if name.endswith("data.pkl"))
    archive(pickled, tmp_path / "x.pt", records, zipfile.ZIP_DEFLATED)
    with pytest.raises(Refused, match="far larger than the file"):
        look_through(tmp_path / "x.pt")


def test_an_old_file_that_promises_numbers_is_refused(tmp_path: Path) -> None:
    path = written(OrderedDict(word=torch.zeros(10**6)), tmp_path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(Refused, match="numbers that it does not hold"):
        look_through(path)
