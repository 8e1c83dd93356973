"""What killed processes leave, and who removes it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from graph_runtime.cache import Cache
from graph_runtime.context import Artifact
from graph_runtime.locks import FileLock
from graph_runtime.runs import RunFolder
from graph_runtime.staging import staging, sweep
from tests.graph_runtime.supervised_server import workflow

KILLED = """
import os, sys
from pathlib import Path
from graph_runtime.cache import Cache
from graph_runtime.runs import RunFolder
from graph_runtime.staging import staging
from tests.graph_runtime.supervised_server import workflow
root = Path(sys.argv[1])
cache, run = Cache(root / "cache"), RunFolder(root / "out", workflow(say=("Say", {})), {})
with cache.progress_folder("unfinished", lambda: None), cache.progress_folder("empty", lambda: None) as folder:
    folder.rmdir()
    with staging(root / "out") as half:
        (half / "a.txt").write_text("ha")
        os._exit(9)
"""


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


def test_the_next_start_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    assert subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False).returncode == 9
    (killed,) = (tmp_path / "out" / "runs").iterdir()
    assert len(hidden(tmp_path / "out")) == 1
    assert (killed / "events.lock").exists()
    cache = Cache(tmp_path / "cache")
    assert len([*(tmp_path / "cache" / "sessions").iterdir()]) == 1, "its own"
    assert sorted(path.name for path in (tmp_path / "cache" / "progress").iterdir()) == ["unfinished", "unfinished.lock"]
    with cache.progress_folder("unfinished", lambda: None):
        cache.forget_progress("unfinished")
    assert not [*(tmp_path / "cache" / "progress").iterdir()]
    cache.close()
    assert not [*(tmp_path / "cache" / "sessions").iterdir()]
    (source := tmp_path / "source.txt").write_text("made")
    run = RunFolder(tmp_path / "out", workflow(say=("Say", {})), {})
    assert hidden(tmp_path / "out") == []
    assert not (killed / "events.lock").exists()
    run.publish(Artifact("a.txt", source), "say")
    run.publish(Artifact("f", source, (("in/a.txt", source),)), "say")
    run.close()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["a.txt", "f", "runs"]
    assert (tmp_path / "out" / "f" / "in" / "a.txt").read_text() == "made"


def test_what_a_living_process_is_about_to_publish_stays(tmp_path: Path) -> None:
    with staging(tmp_path) as folder:
        (just_made := tmp_path / ".folder-new").mkdir()
        (old := tmp_path / ".folder-old").mkdir()
        os.utime(old, (1, 1))
        sweep(tmp_path)
        assert folder.is_dir()
        assert just_made.is_dir(), "its lock may be made this very moment"
        assert not old.exists()
    assert not folder.parent.exists()


def test_a_folder_that_a_sweep_takes_before_it_is_locked_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original, taken = FileLock.acquire, list[FileLock]()

    def acquire(self: FileLock) -> bool:
        if len(taken) == 0:  # the sweep has the lock, and removes the folder
            taken.append(FileLock(self.path))
            assert original(taken[0])
        elif len(taken) == 1:  # the sweep was quicker still
            taken.append(self)
            shutil.rmtree(self.path.parent)
        return original(self)

    monkeypatch.setattr(FileLock, "acquire", acquire)
    with staging(tmp_path) as folder:
        assert folder.parent not in {lock.path.parent for lock in taken}
        assert not original(FileLock(folder.parent / "lock")), "it is locked"
        assert folder.is_dir()
    taken[0].remove()


def test_a_lock_that_its_holder_removes_is_nobody_s(tmp_path: Path) -> None:
    one, two = FileLock(tmp_path / "lock"), FileLock(tmp_path / "lock")
    assert one.acquire()
    waiting = two.path.open("ab")
    one.remove()
    waiting.close()
    assert two.acquire()
    assert not FileLock(tmp_path / "lock").acquire()
    two.remove()
    assert not (tmp_path / "lock").exists()
