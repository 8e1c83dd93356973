"""Run folders: going on in an earlier one, and file systems without links."""

import csv
import errno
import os
from pathlib import Path

import pytest

from graph_runtime import events as ev, files
from graph_runtime.cache import MISS, Cache, digest_file
from graph_runtime.context import Artifact, Sha256
from graph_runtime.runs import RunFolder
from tests.graph_runtime.supervised_server import workflow

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


def test_the_table_of_losses_has_every_measure_of_a_training_and_no_empty_row(tmp_path: Path) -> None:
    record = RunFolder(tmp_path, DOCUMENT, {})
    for step, values in enumerate([{"loss": 0.5, "learning_rate": 0.1}, {"recall_at_1": 0.7}, {"psnr": 26.5}, {"clip_i": 0.9}]):
        record.listen(ev.NodeMetric(seq=step, node="clip", step=step, values=values))
    record.close()
    rows = list(csv.DictReader((record.folder / "loss.csv").read_text().splitlines()))
    told = [{name: value for name, value in row.items() if value} for row in rows]
    assert told == [
        {"node": "clip", "step": "0", "loss": "0.5", "learning_rate": "0.1"},
        {"node": "clip", "step": "1", "recall_at_1": "0.7"},
        {"node": "clip", "step": "2", "psnr": "26.5"},
    ]


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


def test_a_large_file_is_published_without_a_copy_and_changing_it_does_not_harm_the_cache(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(files, "LARGE", 4)
    cache = Cache(tmp_path / "cache")
    source = cache.add_file(".txt", lambda path: path.write_text("large"))
    cache.put("key", source)
    published_file = published(tmp_path / "out", source)[1]
    assert published_file.samefile(source)
    assert cache.get("key", Path) == source
    assert cache.digest_of(source) == source.stem == digest_file(source)
    published_file.write_text("changed by hand")
    assert cache.get("key", Path) is MISS
    assert cache.digest_of(source) == digest_file(source) != source.stem
    cache.close()


def test_who_writes_a_file_may_tell_its_digest(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache")

    def write(path: Path) -> Sha256:
        path.write_text("large")
        return Sha256(digest_file(path))

    made = cache.add_file(".txt", write)
    assert made == cache.add_file(".txt", lambda path: path.write_text("large"))
    cache.close()
