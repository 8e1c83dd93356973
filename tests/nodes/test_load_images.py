"""LoadImages on folders as people have them."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from graph_runtime.reading import digest_file
from graph_runtime.workspace import OutsideReader, Workspace
from nodes.data.load_images import LoadImages
from nodes.diffusion.errors import InputError
from tests.nodes.node_runner import NodeRunner, captions, images


def test_pictures_come_by_name_with_sizes_and_repeats(runner: NodeRunner) -> None:
    runner.picture("p/b.png", (60, 40))
    runner.picture("p/sub/a.jpg")
    runner.picture("p/12_dog/c.webp")
    (runner.root / "p" / "notes.md").write_text("not a picture")
    found = images(runner)
    assert [(p.name, p.repeats) for p in found.pictures] == [("12_dog/c.webp", 12), ("b.png", 1), ("sub/a.jpg", 1)]
    assert (found.pictures[1].width, found.pictures[1].height) == (60, 40)
    assert found.pictures[1].views[0].resized == (48, 32)


def test_captions_from_sidecars_and_tables(runner: NodeRunner) -> None:
    runner.picture("p/a.png", text="  from a file\n")
    runner.picture("p/b.png")
    runner.picture("p/sub/c.png")
    runner.picture("p/twice.png.png", text="named twice")
    rows = [{"file_name": "a.png", "text": "from the table"}, {"file_name": "b.png", "text": "second"}]
    (runner.root / "p" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (runner.root / "p" / "sub" / "metadata.jsonl").write_text('{"file_name": "c.png", "caption": ""}')
    loaded = images(runner)
    assert [p.text for p in loaded.pictures] == ["from a file", "second", "", "named twice"]
    assert captions(runner, loaded).captions == (("from a file",), ("second",), ("",), ("named twice",))


def test_a_broken_table_names_its_line(runner: NodeRunner) -> None:
    runner.picture("p/a.png")
    (runner.root / "p" / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "x"}\n{oops')
    with pytest.raises(InputError, match=r"line 2 of metadata\.jsonl") as caught:
        images(runner)
    assert caught.value.field == "folder"


def test_a_table_may_hold_odd_characters(runner: NodeRunner) -> None:
    runner.picture("p/a.png")
    table = runner.root / "p" / "metadata.jsonl"
    table.write_text('{"file_name": "a.png", "text": "one\u2028two"}\r\n', encoding="utf-8")
    assert images(runner).pictures[0].text == "one\u2028two"
    table.write_bytes(b'{"file_name": "a.png", "text": "caf\xe9"}')
    assert images(runner).pictures[0].text == "café"
    assert runner.messages.texts[0].startswith("metadata.jsonl is read as Windows-1252, which is a guess")


def test_a_table_counts_only_where_its_pictures_would(runner: NodeRunner, tmp_path: Path) -> None:
    runner.picture("p/a.png")
    (runner.root / "p" / ".hidden").mkdir()
    (runner.root / "p" / ".hidden" / "metadata.jsonl").write_text("oops")
    (runner.root / "p" / "folder" / "metadata.jsonl").mkdir(parents=True)
    (tmp_path / "outside").write_text('{"file_name": "a.png", "text": "not yours"}')
    os.symlink(tmp_path / "outside", runner.root / "p" / "metadata.jsonl")
    assert [p.text for p in images(runner).pictures] == [None]
    assert runner.messages.texts == ["metadata.jsonl is left out: it is a link out of the workspace."]


@pytest.mark.parametrize("name", ["a.caption", "a.TXT", "a.png.txt", "a.png.caption"])
def test_a_caption_file_may_be_named_as_other_programs_name_it(runner: NodeRunner, name: str) -> None:
    runner.picture("p/a.png")
    (runner.root / "p" / name).write_text("red apple")
    assert images(runner).pictures[0].text == "red apple"


def test_of_two_captions_one_is_named_as_not_read(runner: NodeRunner) -> None:
    runner.picture("p/a.png", text="one")
    (runner.root / "p" / "a.caption").write_text("two")
    assert images(runner).pictures[0].text == "one"
    assert runner.messages.texts == ["a.caption is not read: another file is the caption of the same picture."]


def test_a_caption_without_a_picture_is_told(runner: NodeRunner) -> None:
    runner.picture("p/a.png", text="one")
    runner.picture("p/sub/b.png")
    (runner.root / "p" / "b.txt").write_text("two")
    assert [p.text for p in images(runner).pictures] == ["one", None]
    assert runner.messages.texts == ["b.txt is no caption: no picture of that name is read."]


def test_a_caption_whose_encoding_cannot_be_told_is_refused(runner: NodeRunner) -> None:
    runner.picture("p/a.png").with_suffix(".txt").write_bytes("кошка на столе".encode("cp1251"))
    with pytest.raises(InputError, match=r"encoding of a\.txt cannot be told") as caught:
        images(runner)
    assert (caught.value.field, caught.value.remedy) == ("folder", "Save it as UTF-8.")


def test_captions_from_a_csv_table(runner: NodeRunner) -> None:
    runner.picture("p/a.png")
    runner.picture("p/sub/b.png")
    (runner.root / "p" / "metadata.csv").write_text('file_name;text\na.png;"red; and\nround"\nsub/b.png;dog\ngone.png;x\n')
    assert [p.text for p in images(runner).pictures] == ["red; and\nround", "dog"]
    assert runner.messages.texts == ["metadata.csv names what is not among the pictures: gone.png is not there."]
    for broken in ("name,text\na.png,x\n", 'file_name,text\na.png,"x'):
        (runner.root / "p" / "metadata.csv").write_text(broken)
        with pytest.raises(InputError, match=r"metadata\.csv"):
            images(runner)
    (runner.root / "p" / "metadata.csv").write_text("file_name,words\na.png,x\n")
    assert images(runner).pictures[0].text is None
    assert runner.messages.texts == ["metadata.csv gives no captions: it has none of the columns text, caption, prompt, label."]


def test_repeats_are_told_and_a_year_is_a_name(runner: NodeRunner) -> None:
    for name in ("12_dog/a", "12_dog/b", "12_dog/inner/b", "2019_summer/c", "20190704_trip/d", "1_cat/e"):
        runner.picture(f"p/{name}.png")
    assert [p.repeats for p in images(runner).pictures] == [12, 12, 1, 1, 1, 1]
    assert runner.messages.texts == [
        "12_dog: 2 pictures, 12 times each.",
        "12_dog/inner: pictures count once, for 12_dog repeats only those that lie directly in it.",
        "20190704_trip is taken for a name, so its pictures count once: raise max_repeats if 20190704 is a count.",
        "2019_summer is taken for a name, so its pictures count once: raise max_repeats if 2019 is a count.",
    ]
    assert [p.repeats for p in images(runner, max_repeats=2019).pictures] == [12, 12, 1, 1, 1, 2019]


def test_every_kind_of_picture_is_read_or_named(runner: NodeRunner) -> None:
    made = runner.picture("p/a.png")
    Image.open(made).save(runner.root / "p" / "b.avif")
    Image.open(made).save(runner.root / "p" / "c.jfif", format="JPEG")
    for name in ("d.HEIC", "e.jxl", "f.psd", "g.svg"):
        (runner.root / "p" / name).write_bytes(b"x")
    (runner.root / "p" / "h.img").write_bytes(made.read_bytes())
    (runner.root / "p" / "notes.md").write_text("not a picture")
    os.mkfifo(runner.root / "p" / "pipe.png")
    assert [p.name for p in images(runner).pictures] == ["a.png", "b.avif", "c.jfif"]
    for name in ("d.HEIC", "e.jxl", "f.psd", "g.svg", "h.img", "pipe.png"):
        assert any(text.startswith(f"{name} is left out: ") for text in runner.messages.texts)
    assert len(runner.messages.texts) == 6
    (runner.root / "only").mkdir()
    (runner.root / "only" / "d.heic").write_bytes(b"x")
    with pytest.raises(InputError, match=r"d\.heic is left out: \.heic needs the package pillow-heif"):
        images(runner, folder="only")


def test_names_that_are_no_text_are_named_as_left_out(runner: NodeRunner) -> None:
    made = runner.picture("p/a.png")
    for name in (b"\xff.png", b"\xff.heic"):
        (made.parent / os.fsdecode(name)).write_bytes(made.read_bytes())
    assert [p.name for p in images(runner).pictures] == ["a.png"]
    assert sorted(text.split(":")[0] for text in runner.messages.texts) == ["?.heic is left out", "?.png is left out"]


def test_links_that_lead_to_each_other_are_read_in_no_time(runner: NodeRunner) -> None:
    for name in "abcdefghij":
        runner.picture(f"p/{name}/1.png")
        for other in "abcdefghij".replace(name, ""):
            os.symlink(f"../{other}", runner.root / "p" / name / other)
    found = [p.name for p in images(runner).pictures]
    assert found == [f"{name}/1.png" for name in "abcdefghij"]


def test_a_link_beside_its_folder_does_not_count_the_pictures_twice(runner: NodeRunner) -> None:
    for name in ("5_cat/a", "5_cat/in/b", "z/c"):
        runner.picture(f"p/{name}.png")
    runner.picture("far/in/d.png")
    for name, target in {"1_first": "z", "cat": "5_cat", "z/again": "../5_cat/in", "m": "../far/in", "n": "../far"}.items():
        os.symlink(target, runner.root / "p" / name)
    found = [(p.name, p.repeats) for p in images(runner).pictures]
    assert found == [("5_cat/a.png", 5), ("5_cat/in/b.png", 1), ("m/d.png", 1), ("z/c.png", 1)]
    left_out = "1_first, cat, n/in and 1 more are left out: it leads to a folder whose pictures count already."
    assert left_out in runner.messages.texts


def test_links_inside_are_followed_and_lead_round_no_circle(runner: NodeRunner, tmp_path: Path) -> None:
    runner.picture("p/sub/a.png")
    runner.picture("shared/b.png", text="shared")
    (tmp_path / "secret").mkdir()
    for name, target in {"near": "../shared", "out": tmp_path / "secret", "sub/back": "..", "gone.png": "none.png"}.items():
        os.symlink(target, runner.root / "p" / name)
    found = images(runner)
    assert [(p.name, p.text) for p in found.pictures] == [("near/b.png", "shared"), ("sub/a.png", None)]
    assert runner.messages.texts == [
        "gone.png is left out: it is no regular file, nor a link to one.",
        "out is left out: it is a link out of the workspace.",
        "sub/back is left out: it leads to a folder whose pictures count already.",
    ]


def test_a_picture_too_thin_to_resize_is_reported(runner: NodeRunner) -> None:
    runner.picture("p/a.png", (200, 200))
    Image.new("1", (60_000, 1)).save(runner.root / "p" / "thread.png")
    assert [p.name for p in images(runner, resolution=512).pictures] == ["a.png"]
    assert runner.messages.texts == ["thread.png is left out: 60000 x 1 pixels are too long and thin for 512 x 512."]


def test_pictures_enlarged_very_much_are_told_of(runner: NodeRunner) -> None:
    runner.picture("p/a.png", (20, 300))
    runner.picture("p/b.png", (60, 60))
    runner.picture("p/c.png", (1, 1))
    images(runner, resolution=128)
    assert runner.messages.texts == ["enlarged more than 4 times: a.png (20 x 300) and 1 more."]


def test_unreadable_pictures_are_reported_by_name_and_left_out(runner: NodeRunner) -> None:
    runner.picture("p/good.png")
    whole = runner.picture("p/cut.png").read_bytes()
    (runner.root / "p" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (runner.root / "p" / "empty.png").touch()
    assert [p.name for p in images(runner).pictures] == ["good.png"]
    assert len(runner.messages.texts) == 2
    assert "cut.png" in runner.messages.texts[0]
    assert "empty.png" in runner.messages.texts[1]


@pytest.mark.parametrize("content", [{}, {"x.png": b""}, {"x.txt": b"words"}])
def test_a_folder_without_pictures_is_an_error(runner: NodeRunner, content: dict[str, bytes]) -> None:
    (runner.root / "p").mkdir()
    for name, data in content.items():
        (runner.root / "p" / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        images(runner)
    assert caught.value.field == "folder"


def test_links_that_lead_out_and_hidden_files_are_not_followed(runner: NodeRunner, tmp_path: Path) -> None:
    runner.picture("p/a.png")
    runner.picture("p/.hidden/b.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    os.symlink(tmp_path / "outside.png", runner.root / "p" / "link.png")
    (runner.root / "elsewhere.png").write_bytes((runner.root / "p" / "a.png").read_bytes())
    os.symlink(runner.root / "elsewhere.png", runner.root / "p" / "near.png")
    assert [p.name for p in images(runner).pictures] == ["a.png", "near.png"]
    assert runner.messages.texts == ["link.png is left out: it is a link out of the workspace."]


def test_buckets_random_crops_and_flips_are_views(runner: NodeRunner) -> None:
    runner.picture("p/wide.png", (90, 40))
    found = images(runner, resolution=64, buckets=True, bucket_step=16, random_crops=2, flip=True)
    (picture,) = found.pictures
    assert len(picture.views) == 4
    assert {view.size for view in picture.views} == {(80, 48)}
    assert [view.flipped for view in picture.views] == [False, True, False, True]


def test_what_is_left_out_is_told_and_changes_no_key(runner: NodeRunner) -> None:
    runner.picture("p/a.png", text="one")

    def looked_through() -> tuple[object, list[str]]:
        files = OutsideReader(Workspace(runner.root), digest_file)
        return LoadImages(folder="p").fingerprint(files), files.warnings

    before, told = looked_through()
    assert told == []
    (runner.root / "p" / "b.psd").write_bytes(b"x")
    (runner.root / "p" / "c.txt").write_text("no picture's")
    after, told = looked_through()
    assert after == before
    assert [text.split(" is ")[0] for text in told] == ["b.psd", "c.txt"]
