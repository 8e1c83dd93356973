"""Checks of a PyTorch file before torch reads it: a pickle of a kilobyte may ask for gigabytes.

Nothing that a pickle names is called: `_Look` puts counting stand-ins in the place of all of it. Needs no torch.
"""

import io
import pickle
import pickletools
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path
from typing import IO, Any, ClassVar

from nodes.diffusion.formats.opening import open_regular

ZIP = b"PK\x03\x04"
MAX_PICKLE = 64 * 2**20
MAX_OPCODES = 2_000_000
"""Most opcodes; a whole model with its optimizer has some hundred thousand."""
MAX_NUMBER = 2**256
"""The largest number, as arithmetic with longer ones is slow; plain data has none longer than a random generator's state."""
LARGE_NUMBER = 2**60
MAX_LARGE = 1000
"""Most large numbers, since their hashes can be made to collide, so that a dictionary compares all of its keys."""
MAX_SIDE = 2**48
MAX_DIMENSIONS = 64
"""Most dimensions of a tensor in torch."""
MAX_EXPANSION = 4
"""Largest ratio of uncompressed to compressed size: torch does not compress archives, and weights hardly shrink."""
FREE_BYTES = 16 * 2**20
ENTRY_BYTES = 64
"""Memory of a container for each of its entries."""
LEGACY_PICKLES = 5
"""The number of pickles in a legacy file: magic number, protocol, system, content, and the order of the storages."""
FORBIDDEN = frozenset({"BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER", "FRAME", "INST", "OBJ", "EXT1", "EXT2", "EXT4"})
TUPLES = (pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3)
ITEM_BYTES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
    "ComplexDouble": 16, "ComplexFloat": 8, "Untyped": 1,
}  # fmt: skip
DTYPE_BYTES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "float8_e4m3fn": 1, "float8_e5m2": 1,
    "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1, "uint16": 2, "uint32": 4, "uint64": 8, "bool": 1,
}  # fmt: skip
PASSED = (
    "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
    "numpy.dtype",
)
"""Globals that trainers, such as that of SD 1.x, leave in checkpoints beside tensors; none of them is called."""
PARAMETERS = "torch.nn.modules.container.ParameterDict"
"""The container of vectors in files of the original textual inversion program."""


class Refused(ValueError):
    """A file holds more than tensors and plain data, or requests more memory than its size justifies."""


class CodeRefused(Refused):
    """A file names a function to be called."""


def look_through(path: Path) -> None:
    """Raise Refused unless torch can read a file without more memory than its tensors' bytes in the file."""
    with open_regular(path) as file:
        is_archive = file.read(4) == ZIP
        file.seek(0)
        try:
            (_look_into_archive if is_archive else _look_into_legacy)(file, path.stat().st_size)
        except Refused:
            raise
        except Exception as error:  # a damaged pickle raises anything
            raise Refused(f"it is no PyTorch file, or damaged ({type(error).__name__})") from None


def _look_into_archive(file: IO[bytes], size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
        stated = sum(entry.file_size for entry in archive.infolist())
        if stated > MAX_EXPANSION * size or (content := entries["data.pkl"]).file_size > MAX_PICKLE:
            raise Refused("what it holds is far larger than the file")
        sizes = {name.removeprefix("data/"): entry.file_size for name, entry in entries.items()}
        _Look(archive.read(content), stated, sizes).load()


def _look_into_legacy(file: IO[bytes], size: int) -> None:
    """Check a file of torch before 1.6: pickles, followed by the numbers."""
    for _ in range(LEGACY_PICKLES):
        begin = file.tell()
        _check_opcodes(file)
        end = file.tell()
        file.seek(begin)
        _Look(file.read(end - begin), size, None).load()


def _check_opcodes(file: IO[bytes]) -> None:
    """Refuse opcodes that are expensive or have effects while a pickle is parsed."""
    large = 0
    for count, (opcode, argument, _) in enumerate(pickletools.genops(file)):
        number = abs(argument) if isinstance(argument, int) else 0
        large += number >= LARGE_NUMBER
        far = "PUT" in opcode.name and number > count
        if count > MAX_OPCODES or opcode.name in FORBIDDEN or far or number >= MAX_NUMBER or large > MAX_LARGE:
            raise Refused("its pickle is not one of tensors")


class _Stand:
    """Stand-in for an object that is no tensor."""

    def __init__(self, *_: object) -> None: ...

    def __setstate__(self, _: object) -> None: ...


class _Type:
    """Stand-in for a storage type or dtype."""

    def __init__(self, item_bytes: int) -> None:
        self.item_bytes = item_bytes


class _Storage(_Type):
    def __init__(self, item_bytes: int, size: int) -> None:
        super().__init__(item_bytes)
        self.bytes = size


class _Tuple(tuple[Any, ...]):
    """An unhashable tuple, as hashing deeply nested tuples with repeated members takes exponential time."""

    __hash__ = None  # pyright: ignore[reportAssignmentType]


def _made_no_key(load: Callable[[Any], None]) -> Callable[[Any], None]:
    def load_tuple(look: Any) -> None:
        load(look)
        look.stack[-1] = _Tuple(look.stack[-1])

    return load_tuple


_Python: Any = pickle._Unpickler  # pyright: ignore # the Python version, whose opcodes can be overridden


class _Look(_Python):
    """Reads a pickle with stand-ins for storages and tensors, and refuses those that are larger than the file allows."""

    dispatch: ClassVar[dict[int, Callable[[Any], None]]] = {
        **_Python.dispatch,
        **{code[0]: _made_no_key(_Python.dispatch[code[0]]) for code in TUPLES},
    }

    def __init__(self, content: bytes, stated: int, sizes: Mapping[str, int] | None) -> None:
        _check_opcodes(io.BytesIO(content))
        super().__init__(io.BytesIO(content), encoding="latin1")
        self._left = 2 * stated + FREE_BYTES
        self._room = stated
        self._sizes = sizes
        self._storages: dict[str, _Storage] = {}
        self._known: dict[str, Any] = {
            **{f"torch.{name}Storage": _Type(size) for name, size in ITEM_BYTES.items()},
            **{f"torch.storage.{name}Storage": _Type(size) for name, size in ITEM_BYTES.items()},
            **{f"torch.{name}": _Type(size) for name, size in DTYPE_BYTES.items()},
            **dict.fromkeys((*PASSED, PARAMETERS, "torch.device", "torch.Tensor", "torch.nn.parameter.Parameter"), _Stand),
            "collections.OrderedDict": self._dictionary(),
            "torch._utils._rebuild_tensor": self._tensor,
            "torch._utils._rebuild_tensor_v2": self._tensor,
            "torch._utils._rebuild_tensor_v3": self._tensor_of_type,
            "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
            "torch._utils._rebuild_parameter_with_state": lambda tensor, *_: tensor,
            "torch._tensor._rebuild_from_type_v2": lambda rebuild, _type, arguments, *_: rebuild(*arguments),
            **dict.fromkeys(("torch.Size", "builtins.set", "__builtin__.set", "_codecs.encode"), self._copy),
        }

    def find_class(self, module: str, name: str, /) -> Any:
        found = self._known.get(f"{module}.{name}")
        if found is None:
            raise CodeRefused(f"it names {module}.{name}"[:200])
        return found

    def persistent_load(self, pid: Any) -> _Storage:
        """Return the stand-in of a storage, after checking that the file holds its bytes."""
        _, kind, key, _, count, *_ = pid
        if key not in self._storages:
            size = _natural(count) * kind.item_bytes
            self._room -= size
            if size > (self._room + size if self._sizes is None else self._sizes[key]):
                raise Refused("it names numbers that it does not hold")
            self._storages[key] = _Storage(kind.item_bytes, size)
        return self._storages[key]

    def _tensor(self, storage: _Storage, _offset: int, shape: tuple[int, ...], *_: object) -> _Stand:
        return self._sized(storage, shape, storage.item_bytes)

    def _tensor_of_type(self, storage: _Storage, _offset: int, shape: Any, *more: Any) -> _Stand:
        return self._sized(storage, shape, more[3].item_bytes)

    def _sized(self, storage: _Storage, shape: tuple[int, ...], item_bytes: int) -> _Stand:
        if len(shape) > MAX_DIMENSIONS:
            raise Refused("its tensors have no shape")
        size = prod(map(_natural, shape)) * item_bytes
        if size > storage.bytes:
            raise Refused("it repeats a few numbers as a large tensor")
        self._take(size)
        return _Stand()

    def _copy(self, content: Any = (), *_: object) -> tuple[()]:
        self._take(ENTRY_BYTES + ENTRY_BYTES * len(content))
        return ()

    def _dictionary(self) -> Callable[..., Any]:
        look = self

        class Counted(OrderedDict[Any, Any]):
            def __init__(self, content: object = ()) -> None:
                super().__init__()
                look._copy(content)

            def __setstate__(self, state: object) -> None:
                look._copy(state)

        return Counted

    def _take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise Refused("what it asks for is far larger than the file")


def _natural(number: object) -> int:
    if type(number) is not int or not 0 <= number < MAX_SIDE:
        raise Refused("its tensors have no shape")
    return number
