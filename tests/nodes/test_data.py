"""LoadImages, CaptionDataset and the encoders, on folders as people have them."""

import json
import os
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor

from graph_runtime.cache import Cache, digest_file
from graph_runtime.context import RunContext
from graph_runtime.workspace import OutsideReader, Workspace
from nodes.data.caption_dataset import CaptionDataset
from nodes.data.encode_captions import EncodeCaptions
from nodes.data.encode_latents import EncodeLatents
from nodes.data.load_images import LoadImages
from nodes.diffusion.errors import InputError
from nodes.diffusion.values import CaptionedDataset, ImageDataset, text_identity
from nodes.models.load_model import LoadModel
from tests.models import make_model_folder, random_adapter

NODES = Path(__file__).parent.parent.parent / "nodes"


class Messages:
    """Notes what a node reports."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.totals: list[int] = []

    def progress(self, step: int, total: int) -> None:
        self.totals.append(total)

    def metric(self, *_: Any) -> None: ...
    def preview(self, *_: Any) -> None: ...

    def message(self, text: str, level: str) -> None:
        self.texts.append(text)


class Desk:
    """A workspace with a cache in which single nodes run."""

    def __init__(self, root: Path) -> None:
        self.root = root / "workspace"
        self.root.mkdir()
        self.cache = Cache(root / "cache")
        self.messages = Messages()

    def run(self, node: Any, **inputs: Any) -> Any:
        files = OutsideReader(Workspace(self.root, packages=(NODES,)), digest_file)
        fingerprint = node.fingerprint(files)
        self.located = {**getattr(self, "located", {}), **files.located}
        self.messages = Messages()
        context = RunContext(
            store=self.cache, located=self.located, fingerprint=fingerprint, reporter=self.messages, device="cpu"
        )
        return node.run(**inputs, context=context)

    def picture(self, name: str, size: tuple[int, int] = (40, 40), text: str | None = None) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        content = random.Random(name).randbytes(3 * size[0] * size[1])
        Image.frombytes("RGB", size, content).save(path)
        if text is not None:
            path.with_suffix(".txt").write_text(text)
        return path


@pytest.fixture
def desk(tmp_path: Path):
    made = Desk(tmp_path)
    yield made
    made.cache.close()


def images(desk: Desk, **fields: Any) -> ImageDataset:
    return desk.run(LoadImages(**{"folder": "p", "resolution": 32, **fields}))


def captions(desk: Desk, loaded: ImageDataset, **fields: Any) -> CaptionedDataset:
    return desk.run(CaptionDataset(**fields), images=loaded)


def test_pictures_come_by_name_with_sizes_and_repeats(desk: Desk) -> None:
    desk.picture("p/b.png", (60, 40))
    desk.picture("p/sub/a.jpg")
    desk.picture("p/12_dog/c.webp")
    (desk.root / "p" / "notes.md").write_text("not a picture")
    found = images(desk)
    assert [(p.name, p.repeats) for p in found.pictures] == [("12_dog/c.webp", 12), ("b.png", 1), ("sub/a.jpg", 1)]
    assert (found.pictures[1].width, found.pictures[1].height) == (60, 40)
    assert found.pictures[1].views[0].resized == (48, 32)


def test_captions_from_sidecars_and_tables(desk: Desk) -> None:
    desk.picture("p/a.png", text="  from a file\n")
    desk.picture("p/b.png")
    desk.picture("p/sub/c.png")
    desk.picture("p/twice.png.png", text="named twice")
    rows = [{"file_name": "a.png", "text": "from the table"}, {"file_name": "b.png", "text": "second"}]
    (desk.root / "p" / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    (desk.root / "p" / "sub" / "metadata.jsonl").write_text('{"file_name": "c.png", "caption": ""}')
    loaded = images(desk)
    assert [p.text for p in loaded.pictures] == ["from a file", "second", "", "named twice"]
    assert captions(desk, loaded).captions == (("from a file",), ("second",), ("",), ("named twice",))


def test_a_broken_table_names_its_line(desk: Desk) -> None:
    desk.picture("p/a.png")
    (desk.root / "p" / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "x"}\n{oops')
    with pytest.raises(InputError, match=r"line 2 of metadata\.jsonl") as caught:
        images(desk)
    assert caught.value.field == "folder"


def test_a_table_may_hold_odd_characters(desk: Desk) -> None:
    desk.picture("p/a.png")
    table = desk.root / "p" / "metadata.jsonl"
    table.write_text('{"file_name": "a.png", "text": "one\u2028two"}\r\n', encoding="utf-8")
    assert images(desk).pictures[0].text == "one\u2028two"
    table.write_bytes(b'{"file_name": "a.png", "text": "caf\xe9"}')
    assert images(desk).pictures[0].text == "caf\ufffd"


def test_a_table_counts_only_where_its_pictures_would(desk: Desk, tmp_path: Path) -> None:
    desk.picture("p/a.png")
    (desk.root / "p" / ".hidden").mkdir()
    (desk.root / "p" / ".hidden" / "metadata.jsonl").write_text("oops")
    (desk.root / "p" / "folder" / "metadata.jsonl").mkdir(parents=True)
    (tmp_path / "outside").write_text('{"file_name": "a.png", "text": "not yours"}')
    os.symlink(tmp_path / "outside", desk.root / "p" / "metadata.jsonl")
    assert [p.text for p in images(desk).pictures] == [None]


def test_a_picture_too_thin_to_resize_is_reported(desk: Desk) -> None:
    desk.picture("p/a.png")
    Image.new("1", (60_000, 1)).save(desk.root / "p" / "thread.png")
    assert [p.name for p in images(desk, resolution=512).pictures] == ["a.png"]
    assert desk.messages.texts == ["thread.png is left out: 60000 x 1 pixels are too long and thin for 512 x 512."]


def test_unreadable_pictures_are_reported_by_name_and_left_out(desk: Desk) -> None:
    desk.picture("p/good.png")
    whole = desk.picture("p/cut.png").read_bytes()
    (desk.root / "p" / "cut.png").write_bytes(whole[: len(whole) // 2])
    (desk.root / "p" / "empty.png").touch()
    assert [p.name for p in images(desk).pictures] == ["good.png"]
    assert len(desk.messages.texts) == 2
    assert "cut.png" in desk.messages.texts[0]
    assert "empty.png" in desk.messages.texts[1]


@pytest.mark.parametrize("content", [{}, {"x.png": b""}, {"x.txt": b"words"}])
def test_a_folder_without_pictures_is_an_error(desk: Desk, content: dict[str, bytes]) -> None:
    (desk.root / "p").mkdir()
    for name, data in content.items():
        (desk.root / "p" / name).write_bytes(data)
    with pytest.raises(InputError) as caught:
        images(desk)
    assert caught.value.field == "folder"


def test_links_that_lead_out_and_hidden_files_are_not_followed(desk: Desk, tmp_path: Path) -> None:
    desk.picture("p/a.png")
    desk.picture("p/.hidden/b.png")
    Image.new("RGB", (9, 9)).save(tmp_path / "outside.png")
    os.symlink(tmp_path / "outside.png", desk.root / "p" / "link.png")
    (desk.root / "elsewhere.png").write_bytes((desk.root / "p" / "a.png").read_bytes())
    os.symlink(desk.root / "elsewhere.png", desk.root / "p" / "near.png")
    assert [p.name for p in images(desk).pictures] == ["a.png", "near.png"]
    assert desk.messages.texts == ["link.png is left out: it is a link out of the workspace."]


def test_buckets_random_crops_and_flips_are_views(desk: Desk) -> None:
    desk.picture("p/wide.png", (90, 40))
    found = images(desk, resolution=64, buckets=True, bucket_step=16, random_crops=2, flip=True)
    (picture,) = found.pictures
    assert len(picture.views) == 4
    assert {view.size for view in picture.views} == {(80, 48)}
    assert [view.flipped for view in picture.views] == [False, True, False, True]


def test_missing_captions_are_counted_and_named(desk: Desk) -> None:
    for number in range(7):
        desk.picture(f"p/{number}.png")
    with pytest.raises(InputError, match=r"7 pictures have no caption: 0\.png") as caught:
        captions(desk, images(desk))
    assert caught.value.field == "source"


def test_templates_triggers_and_variants(desk: Desk) -> None:
    desk.picture("p/red_apple.png", text="round, red, shiny, sweet")
    loaded = images(desk)
    made = captions(
        desk, loaded, template="{trigger} {name}, {caption}", trigger="sks", shuffle_tags=True, keep_tokens=1, variants=3
    )
    assert len(made.captions[0]) == 3
    assert all(text.startswith("sks red apple, ") for text in made.captions[0])
    assert captions(desk, loaded, source="file name").captions == (("red apple",),)


def test_tags_come_from_the_bundled_clip_once_per_picture(desk: Desk) -> None:
    shown = {"star": "star", "cactus": "cactus"}
    for name in shown:
        source = NODES.parent / "workflows" / "pictures" / "line" / f"{name}.webp"
        (desk.root / "p").mkdir(exist_ok=True)
        (desk.root / "p" / f"{name}.webp").write_bytes(source.read_bytes())
    (desk.root / "words.txt").write_text("star\ncactus\n")
    loaded = images(desk)
    made = captions(desk, loaded, source="tags", word_list="words.txt", max_tags=2)
    assert all(set(variants[0].split(", ")) == set(shown) for variants in made.captions)
    assert desk.messages.totals == [2, 2]
    captions(desk, loaded, source="tags", word_list="words.txt", max_tags=2)
    assert desk.messages.totals == []


def test_an_empty_word_list_is_an_error(desk: Desk) -> None:
    desk.picture("p/a.png")
    (desk.root / "words.txt").write_text("\n \n")
    with pytest.raises(InputError) as caught:
        captions(desk, images(desk), source="tags", word_list="words.txt")
    assert caught.value.field == "word_list"


def make_captioner(folder: Path) -> None:
    """A tiny BLIP with random weights and a vocabulary of letters."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", *"abcdefghijklmnopqrstuvwxyz"]
    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(vocabulary))
    tokenizer = BertTokenizer(vocab=str(folder / "vocab.txt"))
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = BlipConfig(
        text_config={
            **small,
            "vocab_size": len(vocabulary),
            "bos_token_id": 5,
            "sep_token_id": 3,
            "pad_token_id": 0,
            "encoder_hidden_size": 16,
        },
        vision_config={**small, "image_size": 32, "patch_size": 16},
        projection_dim=16,
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    BlipImageProcessor(size={"height": 32, "width": 32}).save_pretrained(folder)


def test_a_captioner_of_ones_own_speaks(desk: Desk) -> None:
    make_captioner(desk.root / "blip")
    desk.picture("p/a.png")
    loaded = images(desk)
    made = captions(desk, loaded, source="captioner", captioner="blip", template="photo: {caption}")
    assert made.captions[0][0].startswith("photo:")
    assert made == captions(desk, loaded, source="captioner", captioner="blip", template="photo: {caption}")


def test_a_captioner_that_is_none(desk: Desk) -> None:
    desk.picture("p/a.png")
    loaded = images(desk)
    for folder in ("", "p"):
        with pytest.raises(InputError) as caught:
            captions(desk, loaded, source="captioner", captioner=folder)
        assert caught.value.field == "captioner"


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_encoding_keeps_distributions_and_embeddings_per_item(desk: Desk, family: Any) -> None:
    make_model_folder(desk.root / "m", family)
    for name in ("a", "b", "c"):
        desk.picture(f"p/{name}.png", text=f"thing {name}")
    model, loaded = desk.run(LoadModel(model="m")), images(desk, resolution=32, flip=True)
    assert (model.family, model.prediction_type) == (family, "v_prediction" if family == "sd2" else "epsilon")
    latents = desk.run(EncodeLatents(batch_size=2), model=model, images=loaded)
    assert desk.messages.totals == [6, 6, 6]
    tensors = load_file(latents.items[0].views[0].file)
    assert tensors["mean"].shape == tensors["std"].shape == (4, 16, 16)
    texts = desk.run(EncodeCaptions(), model=model, captions=captions(desk, loaded, caption_dropout=0.1))
    assert texts.caption_dropout == 0.1
    found = load_file(texts.items[0].files[0])
    assert found["hidden"].shape == (77, 32)
    assert ("pooled" in found) == (family == "sdxl")
    again = desk.run(EncodeLatents(batch_size=3), model=model, images=loaded)
    assert desk.messages.totals == []
    assert again == latents


def test_latents_depend_on_view_background_and_vae(desk: Desk) -> None:
    make_model_folder(desk.root / "one", "sd1", seed=1)
    make_model_folder(desk.root / "two", "sd1", seed=2)
    desk.picture("p/a.png")
    runs = [
        (desk.run(LoadModel(model=name)), images(desk, background=color, flip=flip))
        for name, color, flip in (
            ("one", "#ffffff", False),
            ("two", "#ffffff", False),
            ("one", "#000000", False),
            ("one", "#ffffff", True),
        )
    ]
    counts = []
    for model, loaded in runs:
        desk.run(EncodeLatents(), model=model, images=loaded)
        counts.append(desk.messages.totals)
    assert counts == [[1], [1], [1], [1]]
    desk.run(EncodeLatents(precision="bf16"), model=runs[0][0], images=runs[0][1])
    assert desk.messages.totals == [1]


def test_latents_that_are_not_finite_name_the_picture(desk: Desk, monkeypatch) -> None:
    make_model_folder(desk.root / "m", "sd1")
    desk.picture("p/odd.png")
    from diffusers import AutoencoderKL

    original = AutoencoderKL.encode

    def encode(self: Any, pixels: torch.Tensor) -> Any:
        return original(self, pixels * float("inf"))

    monkeypatch.setattr(AutoencoderKL, "encode", encode)
    with pytest.raises(InputError, match=r"odd\.png are not finite"):
        desk.run(EncodeLatents(), model=desk.run(LoadModel(model="m")), images=images(desk))
    assert not list((desk.cache.folder / "files").glob("*/*"))


def test_embeddings_depend_on_encoder_clip_skip_and_adapters(desk: Desk, tmp_path: Path) -> None:
    folder = make_model_folder(desk.root / "m", "sd1")
    model = desk.run(LoadModel(model="m"))
    skipping = desk.run(LoadModel(model="m", clip_skip=1))
    adapted = type(model)(**{**vars(model), "adapters": (random_adapter(folder, tmp_path / "a"),)})
    identities = {text_identity(m) for m in (model, skipping, adapted)}
    assert len(identities) == 3
    desk.picture("p/a.png", text="x")
    made = captions(desk, images(desk))
    files = [desk.run(EncodeCaptions(), model=m, captions=made).items[0].files[0] for m in (model, skipping, adapted)]
    assert len(set(files)) == 3


def test_a_text_encoder_about_to_be_trained_is_not_cached(desk: Desk) -> None:
    from nodes.adapters.inject_lora import InjectLoRA

    make_model_folder(desk.root / "m", "sd1")
    model = desk.run(LoadModel(model="m"))
    injected = desk.run(InjectLoRA(text_encoder=True), model=model)
    desk.picture("p/a.png", text="x")
    with pytest.raises(InputError, match="stale") as caught:
        desk.run(EncodeCaptions(), model=injected, captions=captions(desk, images(desk)))
    assert caught.value.field == "model"


def test_captions_that_are_too_long_are_reported(desk: Desk) -> None:
    make_model_folder(desk.root / "m", "sd1")
    desk.picture("p/a.png", text="x" * 200)
    desk.run(EncodeCaptions(), model=desk.run(LoadModel(model="m")), captions=captions(desk, images(desk)))
    assert desk.messages.texts
    assert "1 captions are too long" in desk.messages.texts[0]


def test_the_crop_of_a_mirrored_view_is_counted_from_the_other_side(desk: Desk) -> None:
    make_model_folder(desk.root / "m", "sdxl")
    desk.picture("p/wide.png", (96, 32))
    loaded = images(desk, resolution=32, random_crops=1, flip=True)
    latents = desk.run(EncodeLatents(), model=desk.run(LoadModel(model="m")), images=loaded)
    plain, mirrored = latents.items[0].views
    assert plain.crop[0] == loaded.pictures[0].views[0].crop[0]
    assert plain.crop[0] + mirrored.crop[0] == 96 - 32


def test_links_inside_a_model_folder_stay_in_the_workspace(desk: Desk, tmp_path: Path) -> None:
    folder = make_model_folder(desk.root / "m", "sd1")
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    weights.rename(tmp_path / "outside.safetensors")
    weights.symlink_to(tmp_path / "outside.safetensors")
    with pytest.raises(ValueError, match="outside the workspace"):
        desk.run(LoadModel(model="m"))


def test_a_renamed_model_folder_is_another_model_by_name(desk: Desk) -> None:
    make_model_folder(desk.root / "alpha", "sd1")
    files = OutsideReader(Workspace(desk.root, packages=(NODES,)), digest_file)
    before = LoadModel(model="alpha").fingerprint(files)
    (desk.root / "alpha").rename(desk.root / "beta")
    after = LoadModel(model="beta").fingerprint(files)
    assert before != after
    assert desk.run(LoadModel(model="beta")).name == "beta"
