"""Run folders: going on in an earlier one, and file systems without links."""

import errno
import os
from pathlib import Path

import pytest

from graph_runtime import files
from graph_runtime.context import Artifact
from graph_runtime.runs import RunFolder
from tests.graph_runtime.shop import workflow

DOCUMENT = workflow(say=("Say", {}))


def published(folder: Path, source: Path, earlier: str | None = None) -> tuple[str, Path]:
    """Publish `source` in a run, in an earlier one if it is named; return the run and the file."""
    record = RunFolder(folder, DOCUMENT, {}, earlier=earlier)
    artifact = record.publish(Artifact("a.txt", source), "say")
    record.close()
    return record.name, Path(artifact.path)


def test_a_resumed_run_publishes_again_what_it_had_published(tmp_path: Path) -> None:
    (source := tmp_path / "source.txt").write_text("made")
    name, first = published(tmp_path / "out", source)
    assert published(tmp_path / "out", source, name) == (name, first)
    first.unlink()
    source.write_text("made again")
    assert published(tmp_path / "out", source, name) == (name, first)
    assert (tmp_path / "out" / "runs" / name / "artifacts" / "a.txt").read_text() == "made again"


def test_without_links_a_file_is_copied_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "no links here")

    def fill_the_disk(source: object, target: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", refuse)
    (source := tmp_path / "source.txt").write_text("made")
    assert published(tmp_path / "out", source)[1].read_text() == "made"
    monkeypatch.setattr(files.shutil, "copyfileobj", fill_the_disk)
    with pytest.raises(OSError, match="full"):
        files.place(source, tmp_path / "half.txt")
    assert not (tmp_path / "half.txt").exists()
