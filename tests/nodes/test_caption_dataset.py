"""CaptionDataset: every source, and what it refuses."""

from pathlib import Path

import pytest
import torch
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration, BlipImageProcessor

from nodes.data.caption_dataset import CaptionDataset
from nodes.diffusion.errors import InputError
from tests.nodes.node_runner import NODES, NodeRunner, captions, images


def test_missing_captions_are_counted_and_named(runner: NodeRunner) -> None:
    for number in range(7):
        runner.picture(f"p/{number}.png")
    with pytest.raises(InputError, match=r"7 pictures have no caption: 0\.png") as caught:
        captions(runner, images(runner))
    assert caught.value.field == "source"


def test_templates_triggers_and_variants(runner: NodeRunner) -> None:
    runner.picture("p/red_apple.png", text="round, red, shiny, sweet")
    loaded = images(runner)
    made = captions(
        runner, loaded, template="{trigger} {name}, {caption}", trigger="sks", shuffle_tags=True, keep_tokens=1, variants=3
    )
    assert len(made.captions[0]) == 3
    assert all(text.startswith("sks red apple, ") for text in made.captions[0])
    assert captions(runner, loaded, source="file name").captions == (("red apple",),)


def test_the_folder_s_name_is_a_caption(runner: NodeRunner) -> None:
    runner.picture("p/10_red_apple/a.png")
    runner.picture("p/2019_summer/b.png")
    made = captions(runner, images(runner), template="{trigger} {folder}", trigger="sks")
    assert made.captions == (("sks red apple",), ("sks 2019 summer",))
    runner.picture("p/c.png")
    with pytest.raises(InputError, match=r"c\.png is in no folder") as caught:
        captions(runner, images(runner), template="{folder}")
    assert caught.value.field == "template"


def test_empty_captions_are_told(runner: NodeRunner) -> None:
    runner.picture("p/a.png", text="")
    loaded = images(runner)
    assert captions(runner, loaded).captions == (("",),)
    assert runner.messages.texts == ["all captions are empty, so no word is learned: write some, or choose another source."]
    runner.picture("p/b.png", text="b")
    captions(runner, images(runner))
    assert runner.messages.texts == ["1 of 2 captions are empty, such as that of a.png."]


def test_weights_in_captions_are_letters_unless_they_are_asked_for(runner: NodeRunner) -> None:
    runner.picture("p/a.png", text="(red:1.3) apple")
    loaded = images(runner)
    assert captions(runner, loaded).emphasis == "none"
    assert runner.messages.texts[0].startswith("1 captions hold weights, such as '(red:1.3) apple', which are letters here.")
    assert captions(runner, loaded, weighted_captions=True).emphasis == "kohya"
    assert runner.messages.texts == []
    runner.picture("p/a.png", text="apple <lora:x:1>")
    with pytest.raises(InputError, match=r"caption of a\.png: '<lora:x:1>' does nothing"):
        captions(runner, images(runner))


def test_a_word_list_may_be_utf_16(runner: NodeRunner) -> None:
    runner.picture("p/a.png")
    (runner.root / "words.txt").write_bytes("star\r\n".encode("utf-16"))
    assert captions(runner, images(runner), source="tags", word_list="words.txt").captions == (("star",),)


def test_tags_come_from_the_bundled_clip_once_per_picture(runner: NodeRunner) -> None:
    shown = {"star": "star", "cactus": "cactus"}
    for name in shown:
        source = NODES.parent / "workflows" / "pictures" / "line" / f"{name}.webp"
        (runner.root / "p").mkdir(exist_ok=True)
        (runner.root / "p" / f"{name}.webp").write_bytes(source.read_bytes())
    (runner.root / "words.txt").write_text("star\ncactus\n")
    loaded = images(runner)
    made = captions(runner, loaded, source="tags", word_list="words.txt", max_tags=2)
    assert all(set(variants[0].split(", ")) == set(shown) for variants in made.captions)
    assert runner.messages.totals == [2, 2]
    captions(runner, loaded, source="tags", word_list="words.txt", max_tags=2)
    assert runner.messages.totals == []


def test_an_empty_word_list_is_an_error(runner: NodeRunner) -> None:
    runner.picture("p/a.png")
    (runner.root / "words.txt").write_text("\n \n")
    with pytest.raises(InputError) as caught:
        captions(runner, images(runner), source="tags", word_list="words.txt")
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


def test_a_captioner_of_ones_own_speaks(runner: NodeRunner) -> None:
    make_captioner(runner.root / "blip")
    runner.picture("p/a.png")
    loaded = images(runner)
    made = captions(runner, loaded, source="captioner", captioner="blip", template="photo: {caption}")
    assert made.captions[0][0].startswith("photo:")
    assert made == captions(runner, loaded, source="captioner", captioner="blip", template="photo: {caption}")


def test_a_captioner_that_is_none(runner: NodeRunner) -> None:
    runner.picture("p/a.png")
    loaded = images(runner)
    for refuse in (
        lambda: CaptionDataset(source="captioner").check({}),
        lambda: captions(runner, loaded, source="captioner", captioner="p"),
    ):
        with pytest.raises(InputError) as caught:
            refuse()
        assert caught.value.field == "captioner"
