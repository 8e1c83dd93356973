"""Temporary folders of processes: who removes them, and when."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nodes.diffusion.formats import process_folder as module
from nodes.diffusion.formats.process_folder import LOCK, PREFIX, process_folder
from nodes.diffusion.formats.single_file.configurations import described
from tests.models import make_model_folder
from tests.nodes.test_single_files import saved

USING = """
import sys
from pathlib import Path
from nodes.diffusion.formats.single_file.configurations import described
print(described(Path(sys.argv[1])).parent, flush=True)
sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model in one file."""
    place = tmp_path_factory.mktemp("model")
    return saved(make_model_folder(place / "m", "sd1"), place / "m.safetensors")


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's folder for temporary files, with none of this process's own in it."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr(module, "_own", list[Path]())
    return tmp_path


def using(file: Path) -> tuple["subprocess.Popen[str]", Path]:
    """Start a process that reads a single file's descriptions, and return it with its folder."""
    process = subprocess.Popen([sys.executable, "-c", USING, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_folder_of_a_killed_process_goes_and_that_of_a_living_one_stays(file: Path, temporary: Path) -> None:
    (killed, left), (living, kept) = using(file), using(file)
    killed.kill()
    killed.communicate()
    assert left.parent == kept.parent == temporary
    assert left.is_dir()
    own = process_folder()
    assert sorted(temporary.iterdir()) == sorted([kept, own])
    assert [*kept.glob("*/unet/config.json")], "it is whole"
    living.communicate("\n")
    assert [*temporary.iterdir()] == [own], "it is gone with its process"


def test_a_folder_without_a_lock_is_given_time(temporary: Path) -> None:
    (in_the_making := temporary / f"{PREFIX}new").mkdir()
    (abandoned := temporary / f"{PREFIX}old").mkdir()
    os.utime(abandoned, (1, 1))
    own = process_folder()
    assert sorted(temporary.iterdir()) == sorted([in_the_making, own])


def test_a_folder_that_is_removed_before_it_is_locked_is_made_again(temporary: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, removed = module._lock, list[Path]()  # pyright: ignore[reportPrivateUsage]

    def late(lock: "module.IO[bytes]") -> None:
        if not removed:
            removed.append(Path(lock.name).parent)
            (removed[0] / LOCK).unlink()
            removed[0].rmdir()
        original(lock)

    monkeypatch.setattr(module, "_lock", late)
    assert process_folder() not in removed
    assert (process_folder() / LOCK).is_file()


def test_descriptions_that_the_system_has_deleted_are_written_again(file: Path, temporary: Path) -> None:
    first = described(file)
    for path in sorted(first.parent.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    first.parent.rmdir()
    assert (described(file) / "unet" / "config.json").is_file()
