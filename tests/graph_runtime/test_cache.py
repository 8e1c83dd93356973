"""The cache: content-addressed, capped, safe for two processes, and never fooled by damage."""

import contextlib
import errno
import json
import multiprocessing
import os
import shutil
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from graph_runtime import cache as cache_module
from graph_runtime.cache import MISS, Cache
from graph_runtime.errors import DamagedCache
from graph_runtime.index import LARGE, Entry, Index, seal


def filled(folder: Path) -> tuple[Path, Path]:
    """A closed cache with one entry that needs one file of 1,000 bytes."""
    cache = Cache(folder)
    file = cache.add_file(".bin", lambda path: path.write_bytes(b"x" * 1000))
    cache.put("key", {"file": file, "n": 3})
    cache.close()
    return folder, file


def test_values_and_files_survive_a_restart(tmp_path: Path) -> None:
    folder, file = filled(tmp_path)
    cache = Cache(folder)
    assert cache.get("key") == {"file": file, "n": 3}
    assert file.read_bytes() == b"x" * 1000
    assert cache.info()["entries"] == 1
    cache.close()


def test_a_cache_can_be_moved(tmp_path: Path) -> None:
    filled(tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    cache = Cache(tmp_path / "there")
    assert cache.get("key")["file"].is_relative_to(tmp_path / "there")
    cache.close()


@pytest.mark.parametrize("damage", ["changed", "cut", "gone"])
def test_a_damaged_file_is_a_miss(tmp_path: Path, damage: str) -> None:
    folder, file = filled(tmp_path)
    if damage == "gone":
        file.unlink()
    else:
        file.write_bytes(b"y" * 1000 if damage == "changed" else b"x" * 999)
    cache = Cache(folder)
    assert cache.get("key") is MISS
    cache.close()


def test_a_damaged_row_is_a_miss(tmp_path: Path) -> None:
    folder, _ = filled(tmp_path)
    db = sqlite3.connect(folder / "index.sqlite")
    db.execute("UPDATE entries SET text = replace(text, '3', '4')")
    db.commit()
    db.close()
    cache = Cache(folder)
    assert cache.get("key") is MISS
    cache.close()


def lengths(folder: Path) -> list[int]:
    """How long the texts are in the rows that searches read."""
    with contextlib.closing(sqlite3.connect(folder / "index.sqlite")) as db:
        return [length for (length,) in db.execute("SELECT length(text) FROM entries ORDER BY key")]


def test_a_large_value_lies_beside_the_rows_that_are_searched(tmp_path: Path) -> None:
    for value in ("a" * 5000, "b" * 6000, "small", "c" * 7000):
        cache = Cache(tmp_path)
        cache.put("large", value)
        cache.put("other", 1)
        cache.close()
        assert max(lengths(tmp_path)) <= LARGE
        again = Cache(tmp_path)
        assert (again.get("large", str), again.get("other", int)) == (value, 1)
        again.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as db, db:
        db.execute("UPDATE texts SET text = replace(text, 'cc', 'cd')")
    cache = Cache(tmp_path)
    assert cache.get("large") is MISS
    cache.close()


def test_what_is_evicted_leaves_no_text(tmp_path: Path) -> None:
    index = Index(tmp_path / "index.sqlite")
    index.write([Entry("large", "a" * 5000, 0), Entry("small", "b", 0)], [])
    assert [(key, len(text)) for key, text, _ in index.oldest_first()] == [("large", 5000), ("small", 1)]
    index.delete(["large", "small"], time.time() + 1)
    index.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as db:
        assert db.execute("SELECT count(*) FROM texts").fetchone() == (0,)


def test_a_cache_of_an_earlier_version_keeps_its_large_values(tmp_path: Path) -> None:
    Cache(tmp_path).close()
    with contextlib.closing(sqlite3.connect(tmp_path / "index.sqlite")) as db, db:
        for key, value in (("large", "a" * 5000), ("small", "b")):
            text = json.dumps(value)
            db.execute("INSERT INTO entries VALUES (?, ?, ?, ?, ?)", (key, text, seal(key, text), len(text), 1.0))
        db.execute("DROP TABLE texts")
        db.execute("PRAGMA user_version = 0")
    assert lengths(tmp_path) == [5002, 3]
    cache = Cache(tmp_path)
    assert (cache.get("large", str), cache.get("small", str)) == ("a" * 5000, "b")
    cache.close()
    assert lengths(tmp_path) == [0, 3]


def test_a_destroyed_index_is_set_aside(tmp_path: Path) -> None:
    folder, _ = filled(tmp_path)
    (folder / "index.sqlite").write_bytes(b"not a database, but long enough to be read as one" * 40)
    cache = Cache(folder)
    assert cache.get("key") is MISS
    cache.put("key", 5)
    cache.close()
    again = Cache(folder)
    assert again.get("key", int) == 5
    again.close()
    assert (folder / "index.damaged").exists()


def test_a_value_of_another_type_is_a_miss(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("key", "text")
    cache.close()
    again = Cache(tmp_path)
    assert again.get("key", int) is MISS
    again.close()


def test_the_cap_evicts_what_was_used_longest_ago(tmp_path: Path) -> None:
    for number in range(4):
        cache = Cache(tmp_path)
        cache.put(f"key{number}", cache.add_file(".bin", lambda path, n=number: path.write_bytes(bytes([n]) * 1000)))
        cache.close()
        time.sleep(0.01)
    cache = Cache(tmp_path)
    assert isinstance(cache.get("key0", Path), Path)  # used now, so it is no longer the oldest
    cache.close()
    cache = Cache(tmp_path)
    cache.prune(2500)
    assert [cache.get(f"key{n}", Path) is MISS for n in range(4)] == [False, True, True, False]
    assert len(list((tmp_path / "files").glob("*/*"))) == 2
    cache.close()


def test_closing_brings_the_size_under_the_cap(tmp_path: Path) -> None:
    filled(tmp_path)
    time.sleep(0.01)
    cache = Cache(tmp_path, max_bytes=500)
    cache.close()
    assert not list((tmp_path / "files").glob("*/*"))


def test_nothing_that_a_living_process_has_used_is_evicted(tmp_path: Path) -> None:
    folder, file = filled(tmp_path)
    time.sleep(0.01)
    living = Cache(folder)
    assert living.get("key") is not MISS
    living.flush()  # a run does this as soon as it knows what it needs
    other = Cache(folder)
    other.clear()
    assert file.exists()
    other.close()
    living.close()
    time.sleep(0.01)
    later = Cache(folder)
    later.clear()
    assert not file.exists()
    assert later.info()["entries"] == 0
    later.close()


def write_many(folder: str, start: int) -> None:
    cache = Cache(Path(folder))
    for number in range(start, start + 200):
        cache.put(f"key{number}", number)
        if number % 50 == 0:
            cache.flush()
    cache.close()


def test_what_a_run_has_just_looked_up_is_not_cleared(tmp_path: Path) -> None:
    before = Cache(tmp_path)
    before.keep_item("a", before.add_file(".txt", lambda path: path.write_text("a")))
    before.keep_item("b", before.add_file(".txt", lambda path: path.write_text("b")))
    before.close()
    time.sleep(0.02)
    run, other = Cache(tmp_path), Cache(tmp_path)
    file = run.find_item("a")
    other.clear()
    assert Path(file).read_text() == "a"
    assert run.find_item("b") is None
    run.close()
    other.close()


def looked_up(cache: Cache) -> list[str]:
    return [path.read_text() for path in (cache.folder / "looked_up").iterdir()]


def test_looking_up_what_earlier_runs_left_writes_nothing_to_the_index(tmp_path: Path) -> None:
    before = Cache(tmp_path)
    for number in range(5):
        before.keep_item(str(number), number)
    before.close()
    time.sleep(0.02)
    run = Cache(tmp_path)
    changes = run._index._db.total_changes
    assert [run.find_item(str(number)) for number in range(5)] == list(range(5))
    assert run._index._db.total_changes == changes
    assert [text.count("\n") for text in looked_up(run)] == [5]
    other = Cache(tmp_path)
    other.clear()
    assert other.info()["entries"] == 5
    run.close()
    assert looked_up(other) == []
    other.close()


def test_looking_up_while_another_process_evicts_marks_what_is_left(tmp_path: Path) -> None:
    before = Cache(tmp_path)
    before.put("kept", 1)
    before.put("evicted", 2)
    before.close()
    time.sleep(0.02)
    run, other = Cache(tmp_path), Cache(tmp_path)
    with other._pins.evicting():
        assert run.get("kept", int) == 1
        other._index.delete(["kept", "evicted"], other._begun)
        assert run.get("evicted", int) is MISS
    assert not (tmp_path / "evicting.lock").exists()
    assert other.get("kept", int) == 1
    run.close()
    other.close()


def test_the_pins_of_a_dead_process_hold_nothing(tmp_path: Path) -> None:
    before = Cache(tmp_path)
    before.put("key", 1)
    before.close()
    time.sleep(0.02)
    cache = Cache(tmp_path)
    (tmp_path / "looked_up" / "dead").write_text("key\n")
    cache.clear()
    assert looked_up(cache) == []
    assert cache.get("key", int) is MISS
    cache.close()


def test_files_that_another_process_removes_meanwhile_are_no_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Cache(tmp_path)
    for name in "ab":
        before.keep_item(name, before.add_file(".txt", lambda path, text=name: path.write_text(text)))
    before.close()
    for name in ("_mtime", "_size"):
        original = getattr(cache_module, name)

        def overtaken(path: Path, original: Callable[[Path], float] = original) -> float:
            if path.is_dir():
                shutil.rmtree(path)
            path.unlink(missing_ok=True)
            return original(path)

        monkeypatch.setattr(cache_module, name, overtaken)
    (tmp_path / "temporary" / "left").write_text("half")
    (tmp_path / "progress" / "key").mkdir()
    cache = Cache(tmp_path)
    cache.clear()
    assert cache.info()["bytes"] == 0
    cache.close()


def test_a_digest_is_remembered_once_the_next_change_would_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    monkeypatch.setattr(cache_module, "digest_file", lambda path: read.append(path) or "digest")
    (file := tmp_path / "file").write_text("A")
    cache = Cache(tmp_path / "cache")
    for settled in (False, True):
        monkeypatch.setattr(cache_module, "is_settled", lambda _, settled=settled: settled)
        for _ in range(3):
            assert cache.digest(file) == "digest"
    cache.close()
    assert len(read) == 4, "thrice while it is young, then once"


def test_two_processes_write_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=write_many, args=(str(tmp_path), start)) for start in (0, 100)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0, 0]
    cache = Cache(tmp_path)
    assert [cache.get(f"key{n}", int) for n in range(300)] == list(range(300))
    cache.close()


def hold_progress(folder: str, started: str, release: str) -> None:
    with Cache(Path(folder)).progress_folder("key", lambda: None):
        Path(started).touch()
        while not Path(release).exists():
            time.sleep(0.01)
        os._exit(9)  # dies while holding the lock


def test_one_process_at_a_time_holds_a_progress_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    started, release = tmp_path / "started", tmp_path / "release"
    holder = context.Process(target=hold_progress, args=(str(tmp_path / "cache"), str(started), str(release)))
    holder.start()
    while not started.exists():
        time.sleep(0.01)
    cache = Cache(tmp_path / "cache")
    waits: list[int] = []

    def waiting() -> None:
        waits.append(1)
        release.touch()

    with cache.progress_folder("key", waiting) as folder:
        assert folder.is_dir()
    assert waits
    holder.join()
    cache.close()


def test_a_file_that_fails_half_way_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache(tmp_path)

    def write(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("no more")

    with pytest.raises(OSError, match="no more"):
        cache.add_file(".bin", write)
    assert not list((tmp_path / "temporary").iterdir())
    assert not list((tmp_path / "files").glob("*/*"))
    cache.close()


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DamagedCache, match="cannot be used"):
        Cache(tmp_path / "file")


def test_a_full_disk_is_the_usual_error_and_costs_no_entry(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("before", 1)
    cache.flush()
    pages = cache._index._db.execute("PRAGMA page_count").fetchone()[0]
    cache._index._db.execute(f"PRAGMA max_page_count = {pages}")  # what SQLite meets on a full disk
    cache.put("large", "x" * 1_000_000)
    with pytest.raises(OSError, match="full") as caught:
        cache.flush()
    assert caught.value.errno == errno.ENOSPC
    cache._pending.clear()
    cache.close()
    again = Cache(tmp_path)
    assert (again.get("before", int), again.get("large", str)) == (1, MISS)
    again.close()


def test_a_damaged_page_of_the_index_is_a_miss(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    for number in range(300):
        cache.put(f"key{number}", "x" * 300)
    cache.close()
    path = tmp_path / "index.sqlite"
    content = bytearray(path.read_bytes())
    content[4096:-4096] = b"\xff" * (len(content) - 8192)
    path.write_bytes(content)
    again = Cache(tmp_path)
    assert all(again.get(f"key{n}", str) is MISS for n in range(300))
    again.put("new", 1)
    again.close()
    last = Cache(tmp_path)
    assert last.get("new", int) == 1
    last.close()


def test_a_file_that_several_entries_share_counts_once_and_stays_while_one_needs_it(tmp_path: Path) -> None:
    folder, file = filled(tmp_path)
    time.sleep(0.01)
    cache = Cache(folder)
    cache.put("second", (file,))
    assert cache.info()["bytes"] == 1000
    cache.prune(0)
    assert cache.get("key") is MISS
    assert cache.get("second", tuple[Path]) == (file,)
    cache.close()


def test_clearing_removes_entries_without_files_too(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    cache.put("small", 1)
    cache.close()
    time.sleep(0.01)
    again = Cache(tmp_path)
    again.clear()
    assert again.info()["entries"] == 0
    again.close()
