"""Which parts of models stay in memory: one by one, the least recently used go first, and nothing goes that is in use."""

from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image

from nodes.diffusion.adapters.model_in_use import model_in_use
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import info_of
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.handles.models import DiffusionModel, Family
from nodes.diffusion.models import residency
from nodes.diffusion.models.active import ActiveModel, held
from nodes.diffusion.models.parts import ModelParts
from nodes.diffusion.models.residency import RESIDENT, Residency, bytes_of
from nodes.diffusion.text.encoding import encode_prompts
from tests.models import WIDTH, handle, make_model_folder, random_adapter, resident_parts
from tests.nodes.test_single_files import saved
from tests.variations import base_of, make_variation_folder

CPU = torch.device("cpu")


class Memory:
    """A device whose memory is as large as a test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 2**40
        self.residency = Residency()
        monkeypatch.setattr(residency, "memory_of", lambda device: self.bytes)

    def use(self, folder: Path) -> ActiveModel:
        model = handle(folder)
        return ActiveModel(model, ModelParts(folder, CPU, "fp32", info_of(model, folder), residency=self.residency))

    def names(self) -> list[str]:
        return [name for _, name in self.residency.parts()]

    def expected(self, parts: ModelParts, name: str) -> int:
        """Return the bytes for which room is made before a part is loaded."""
        asked: list[int] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(self.residency, "find", lambda key: None)
            patch.setattr(self.residency, "keep", lambda *_: None)
            patch.setattr(self.residency, "make_room", lambda device, wanted: asked.append(wanted))
            parts.kept(name, object)
        return asked[0]

    def fill(self) -> None:
        """Let what is there now be one byte more than may stay."""
        self.bytes = 2 * sum(map(bytes_of, self.residency.parts().values())) - 2


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    return Memory(monkeypatch)


def test_the_text_encoder_goes_and_the_denoiser_stays(memory: Memory, tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    with held(memory.use(folder)) as encoding:
        encode_prompts(encoding, ["a"])
    with held(memory.use(folder)) as training:
        unet = training.unet
    memory.fill()
    with held(memory.use(folder)) as drawing:
        assert drawing.vae is not None
        assert drawing.unet is unet
    assert "text_encoder" not in memory.names()
    assert memory.names()[-1] == "unet"


def test_parts_in_use_stay_however_short_memory_is(memory: Memory, tmp_path: Path) -> None:
    folders = [make_model_folder(tmp_path / name, "sd1") for name in ("one", "two")]
    with held(memory.use(folders[0])) as one:
        unet = one.unet
        memory.bytes = 0
        with held(memory.use(folders[1])) as two:
            assert two.unet is not unet
            assert two.vae is not None
            assert memory.names() == ["unet", "unet", "vae"]
    with held(memory.use(folders[0])) as again:
        assert again.vae is not None
    assert memory.names() == ["vae"], "after their use they go"


def test_only_as_much_goes_as_must(memory: Memory, tmp_path: Path) -> None:
    for name in ("one", "two"):
        with held(memory.use(make_model_folder(tmp_path / name, "sd1"))) as model:
            assert model.unet is not None
    memory.fill()
    with held(memory.use(tmp_path / "one")) as one:
        assert one.unet is not None
        assert one.vae is not None
    assert [identity == one.parts.identity for identity, _ in memory.residency.parts()] == [True, True]


@pytest.mark.parametrize("form", ["folder", "file"])
@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_room_is_made_for_all_of_a_part(memory: Memory, tmp_path: Path, family: Family, form: str) -> None:
    """The bytes that a part is expected to take are those that it takes, but for headers, and numbers that only files have."""
    folder = make_model_folder(tmp_path / "m", family)
    if form == "file":
        folder = saved(folder, tmp_path / "m.safetensors")
    with held(memory.use(folder)) as model:
        for name in ("unet", "vae", *model.parts.names("text_encoder")):
            expected = memory.expected(model.parts, name)
            assert expected == pytest.approx(bytes_of(model.part(name)), rel=0.1), name
        assert memory.expected(model.parts, "tokenizer") == 0


def test_the_image_side_of_a_variation_is_counted_and_held(memory: Memory, tmp_path: Path) -> None:
    base = base_of(make_variation_folder(tmp_path / "m", "unclip"), memory.residency)
    parts = base.model.parts
    with held(base.model):
        assert base.embed(Image.new("RGB", (16, 16))).shape == (WIDTH,)
        assert base.image_normalizer.mean.shape == (1, WIDTH)
        for name in ("image_encoder", "image_normalizer"):
            kept = bytes_of(memory.residency.parts()[parts.key(name)])
            assert 0 < kept <= memory.expected(parts, name), name
        memory.bytes = 0
        assert base.model.vae is not None
        assert memory.names() == ["image_encoder", "image_normalizer", "vae"], "they are in use"
    memory.residency.make_room(CPU)
    assert not memory.names()


def test_a_use_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    word = TokenEmbedding(placeholder_token="<new>", initializer_token="a", num_vectors=1, seed=0)
    plain, learned = handle(folder), handle(folder, adapters=(word,))
    with model_in_use(learned, lambda digest: Path(digest), device=CPU) as one:
        assert list(one.placeholders) == ["<new>"]
        assert set(one.applied[0]) == {"text_encoder_0"}
        with model_in_use(plain, lambda digest: Path(digest), device=CPU) as other:
            assert not other.placeholders, "another use of the same parts does not see them"
            assert other.text_encoders[0] is one.text_encoders[0]
    assert not one.placeholders
    assert {name for identity, name in resident_parts() if identity == one.parts.identity} == {"text_encoder", "tokenizer"}
    RESIDENT.clear()


def test_a_second_use_of_parts_that_have_adapters_is_refused(tmp_path: Path) -> None:
    folder = make_model_folder(tmp_path / "m", "sd1")
    plain = handle(folder)
    learned = replace(plain, adapters=(random_adapter(folder, tmp_path / "w.safetensors"),))

    def use(model: DiffusionModel) -> AbstractContextManager[ActiveModel]:
        return model_in_use(model, lambda digest: folder, device=CPU)

    with use(plain), use(learned):
        for second in (plain, learned):
            with pytest.raises(InputError, match="in use with adapters"), use(second):
                pass
    with use(learned), pytest.raises(InputError, match="in use with adapters"), use(learned):
        pass
    with use(learned):
        pass
