"""Files that change between the plan and the end of the node that reads them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from graph_runtime.outside import ContentChanged, Watch
from graph_runtime.reading import digest_file, open_regular
from graph_runtime.workspace import OutsideReader, PathRefused, Workspace
from tests.graph_runtime import toys
from tests.graph_runtime.conftest import Lab, document


def written_over(file: Path) -> None:
    """As `cp` does, with the old times."""
    before = file.stat()
    file.write_text("B")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def replaced(file: Path) -> None:
    other = file.with_name("other")
    other.write_text("B")
    other.replace(file)


def made_a_link(file: Path) -> None:
    other = file.parent.parent / "elsewhere"
    other.write_text("B")
    file.unlink()
    file.symlink_to(other)


CHANGES = [written_over, replaced, made_a_link, Path.unlink]


class Outside:
    """A workspace with a file and a folder, both digested."""

    def __init__(self, root: Path) -> None:
        self.folder = root / "ws" / "m"
        self.file = self.folder / "a.txt"
        (self.folder / "in").mkdir(parents=True)
        for file in (self.file, self.folder / "in" / "b.txt"):
            file.write_text("A")
            os.utime(file, (1, 1))
        self.reader = OutsideReader(Workspace(root / "ws"), digest_file)
        self.of_file = self.reader.digest_file("m/a.txt")
        self.of_folder = self.reader.digest_folder("m", (".txt",))
        self.watch = Watch(self.reader.contents)


@pytest.fixture
def outside(tmp_path: Path) -> Outside:
    return Outside(tmp_path)


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_after_the_plan_is_not_read(outside: Outside, change: Callable[[Path], None]) -> None:
    change(outside.file)
    with pytest.raises(ContentChanged, match=r"^a\.txt changed after the run was planned\.$"):
        outside.watch.begin(outside.of_file)
    with pytest.raises(ContentChanged, match=r"^m/a\.txt changed"):
        outside.watch.begin(outside.of_folder)


@pytest.mark.parametrize("change", CHANGES)
def test_what_was_read_before_a_change_is_not_kept_either(outside: Outside, change: Callable[[Path], None]) -> None:
    outside.watch.begin(outside.of_folder)
    outside.watch.check()
    change(outside.file)
    with pytest.raises(ContentChanged):
        outside.watch.check()
    with pytest.raises(ContentChanged):
        outside.watch.begin(outside.of_folder)


def touched(file: Path) -> None:
    os.utime(file)


def written_again(file: Path) -> None:
    file.write_text("A")


def replaced_by_an_equal_one(file: Path) -> None:
    (other := file.with_name("other")).write_text("A")
    other.replace(file)


@pytest.mark.parametrize("harmless", [touched, written_again, replaced_by_an_equal_one])
def test_the_same_bytes_with_other_times_end_nothing(outside: Outside, harmless: Callable[[Path], None]) -> None:
    outside.watch.begin(outside.of_folder)
    harmless(outside.file)
    outside.watch.check()
    with outside.watch.opened(outside.of_file, outside.file) as file:
        harmless(outside.file)
        assert file.read() == b"A"
    outside.watch.check()
    written_over(outside.file)
    with pytest.raises(ContentChanged):
        outside.watch.check()


def test_a_file_with_new_times_is_read_once(outside: Outside, monkeypatch: pytest.MonkeyPatch) -> None:
    outside.watch.begin(outside.of_file)
    os.utime(outside.file, (2, 2))
    read: list[Path] = []
    monkeypatch.setattr("graph_runtime.outside.digest_file", lambda path: read.append(path) or digest_file(path))
    monkeypatch.setattr("graph_runtime.outside.is_settled", lambda stamp: True)
    outside.watch.check()
    outside.watch.check()
    assert read == [outside.file]


def test_the_same_content_with_other_times_names_and_permissions_is_the_same(outside: Outside) -> None:
    outside.file.write_text("A")
    outside.watch.begin(outside.of_folder)
    outside.file.chmod(0o600)
    os.link(outside.file, outside.folder.parent / "second name")
    (outside.folder / "notes.md").write_text("another kind")
    outside.watch.check()


def test_a_file_that_is_added_to_a_folder_changes_it(outside: Outside) -> None:
    outside.watch.begin(outside.of_folder)
    (outside.folder / "in" / "c.txt").write_text("A")
    with pytest.raises(ContentChanged, match=r"c\.txt"):
        outside.watch.check()


def test_a_folder_that_is_swapped_with_another_is_changed(outside: Outside) -> None:
    outside.watch.begin(outside.of_folder)
    outside.folder.rename(outside.folder.with_name("kept"))
    Outside(outside.folder.parent.parent / "b").folder.rename(outside.folder)
    with pytest.raises(ContentChanged):
        outside.watch.check()


def test_an_open_file_is_the_one_that_was_digested(outside: Outside) -> None:
    path = outside.reader.located[outside.of_file]
    with outside.watch.opened(outside.of_file, path) as file:
        assert file.read() == b"A"
    outside.file.write_text("A")
    with outside.watch.opened(outside.of_file, path) as file:
        assert file.read() == b"A", "it has been read to tell it, and is at its beginning again"
    with pytest.raises(ContentChanged):
        _fail_on_a_picture_that_is_half_another(outside, path)
    with pytest.raises(ContentChanged), outside.watch.opened(outside.of_file, path):
        pytest.fail("it is another file from the start")


def _fail_on_a_picture_that_is_half_another(outside: Outside, path: Path) -> None:
    with outside.watch.opened(outside.of_file, path):
        outside.file.write_text("B")
        raise ValueError("this is no picture")


def test_a_node_whose_file_changes_fails_and_keeps_nothing(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    file = lab.workspace.root / "one.txt"
    file.write_text("A")
    workflow = document({"n": ("ReadFile", {"path": "one.txt"})})
    original = toys.ReadFile.run

    def overtaken(self: Any, context: Any) -> str:
        context.locate(context.fingerprint)
        file.write_text("B")
        return original(self, context)

    monkeypatch.setattr(toys.ReadFile, "run", overtaken)
    assert lab.run(workflow).status == "failed"
    (failed,) = [event for event in lab.events if event.type == "node_failed"]
    assert failed.message == "one.txt changed after the run was planned."
    assert failed.remedy.startswith("Run again")
    monkeypatch.undo()
    file.write_text("A")
    assert lab.run(workflow).status == "succeeded"
    assert toys.CALLS == ["ReadFile"], "nothing lay in the cache under the key of A"


def test_an_item_is_not_kept_when_what_it_came_of_has_changed(outside: Outside) -> None:
    from graph_runtime.context import RunContext

    context = RunContext(located=outside.reader.located, watch=outside.watch)
    context.locate(outside.of_folder)
    replaced(outside.file)
    with pytest.raises(ContentChanged):
        context.keep_item("key", 1)


def test_links_to_folders_count_and_end(outside: Outside) -> None:
    (outside.folder / "in" / "back").symlink_to(outside.folder)
    assert outside.reader.digest_folder("m", (".txt",)) == outside.of_folder
    (outside.folder.parent / "far").mkdir()
    (outside.folder.parent / "far" / "c.txt").write_text("C")
    (outside.folder / "linked").symlink_to("../far")
    changed = outside.reader.digest_folder("m", (".txt",))
    assert changed != outside.of_folder
    (outside.folder.parent / "far" / "c.txt").write_text("D")
    assert outside.reader.digest_folder("m", (".txt",)) != changed


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_pipe_is_refused_at_once(outside: Outside) -> None:
    pipe = outside.folder / "p.txt"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="Not a regular file"):
        open_regular(pipe)
    with pytest.raises(PathRefused, match=r"m/p\.txt is no regular file"):
        outside.reader.digest_folder("m", (".txt",))
