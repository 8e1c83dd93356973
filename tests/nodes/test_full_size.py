"""Checkpoints of the published sizes, with random weights: whole round trips, and the memory that loading takes."""

import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel

from nodes.diffusion.adapters.model_in_use import model_in_use
from nodes.diffusion.families.code import encode_prompts as encode_for_family, predict
from nodes.diffusion.formats.single_file.configurations import described
from nodes.diffusion.text.encoding import encode_prompts
from nodes.models.load_model import LoadModel
from nodes.output.save_checkpoint import SaveCheckpoint
from tests.models import shared_model
from tests.nodes.node_runner import NodeRunner
from tests.published import write_random

CPU = torch.device("cpu")
GIANTS = (("sd2", 4), ("sdxl", 4), ("sd1", 9), ("sdxl", 9), ("sd1", 8))
FACTS = {"sd1": (512, 768), "sd2": (512, 1024), "sdxl": (1024, 2048)}
"""Native side and width of the text embeddings."""
LOADED = """
import sys, torch
from pathlib import Path
from nodes.diffusion.models.residency import bytes_of
from tests.models import fresh_model
def memory(name):
    return int([line for line in open("/proc/self/status") if line.startswith(name)][0].split()[1]) * 1024
before, own = memory("VmRSS"), memory("RssAnon")
model = fresh_model(Path(sys.argv[1]), sys.argv[2])
modules = model.unet, model.vae, *model.text_encoders
total = sum(float(p.sum(dtype=torch.float32)) for m in modules for p in m.parameters())
print(memory("VmHWM") - before, memory("RssAnon") - own, sum(map(bytes_of, modules)))
"""


def measured(file: Path, precision: str) -> tuple[int, int, int]:
    """Highest memory that loading took, what of it was no mapped file at the end, and the parts' own size, in bytes."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, str(file), precision], capture_output=True, text=True, check=True, cwd=Path.cwd()
    )
    peak, own, size = (int(number) for number in done.stdout.split())
    return peak, own, size


@pytest.mark.slow
@pytest.mark.parametrize(("family", "channels"), [("sd1", 4), *(pytest.param(*size, marks=pytest.mark.giant) for size in GIANTS)])
def test_a_model_of_full_size(runner: NodeRunner, tmp_path: Path, family: Any, channels: int) -> None:
    file = runner.root / "m.safetensors"
    write_random(family, file, torch.bfloat16, in_channels=channels)
    peak, own, size = measured(file, "bf16")
    print(f"{family} of {channels} channels: file {file.stat().st_size}, peak {peak}, not mapped {own}, parts {size} bytes")  # noqa: T201 - what the check is run for
    assert peak < 1.2 * file.stat().st_size
    assert own < 0.2 * file.stat().st_size

    model = runner.run(LoadModel(model="m.safetensors"))
    assert (model.family, model.prediction_type, model.resolution) == (family, "epsilon", FACTS[family][0])
    loaded = shared_model(model, file, "bf16")
    text = encode_prompts(loaded, ["a photo of a cat"])
    assert text["hidden"].shape == (1, 77, FACTS[family][1])
    assert (text.get("pooled") is not None) is (family == "sdxl")
    added = {"text_embeds": text.get("pooled"), "time_ids": torch.zeros(1, 6, dtype=torch.bfloat16)}
    with torch.no_grad():
        drawn = loaded.unet(torch.zeros(1, 4, 8, 8, dtype=torch.bfloat16), 500, text["hidden"], added_cond_kwargs=added).sample
        assert drawn.isfinite().all()
        assert loaded.unet.conv_in.weight.shape[1] == channels
        assert loaded.vae.decode(drawn).sample.shape == (1, 3, 64, 64)
    for part, cls in (("unet", UNet2DConditionModel), ("vae", AutoencoderKL)):
        other: Any = cls.from_single_file(
            str(file), config=str(described(file)), subfolder=part, local_files_only=True, torch_dtype=torch.bfloat16
        )
        ours = getattr(loaded, part).state_dict()
        assert ours.keys() == other.state_dict().keys()
        assert all(torch.equal(tensor, ours[name]) for name, tensor in other.state_dict().items())
        del other

    (artifact,) = runner.run(SaveCheckpoint(), model=model)
    assert _data(artifact.file) == _data(file)


def _data(file: Path) -> int:
    """A number that two files share only when their tensors do: a checksum of all that follows the header."""

    found = 0
    with file.open("rb") as opened:
        opened.seek(8 + int.from_bytes(opened.read(8), "little"))
        while part := opened.read(2**24):
            found = zlib.crc32(part, found)
    return found


@pytest.mark.giant
@pytest.mark.parametrize(
    ("family", "name", "channels", "text_shape"),
    [("z_image", "z_image_turbo", 16, (1, 13, 2560)), ("flux2_klein_4b", "flux-2-klein-4b", 128, (1, 512, 7680))],
)
def test_a_flow_model_of_full_size(
    runner: NodeRunner, family: str, name: str, channels: int, text_shape: tuple[int, ...]
) -> None:
    """A transformer of billions and its language model predict once on a CPU, from one file that stays mapped."""
    file = runner.root / f"{name}.safetensors"
    write_random(family, file, torch.bfloat16)
    model = runner.run(LoadModel(model=file.name))
    assert (model.family, model.resolution) == (family, 1024)
    assert model.info is not None
    assert model.info.distilled
    with model_in_use(model, lambda digest: file, device=CPU, precision="bf16") as loaded, torch.no_grad():
        text = encode_for_family(loaded, ["a photo of a cat"])
        assert text["hidden"].shape == text_shape
        loaded.let_go(["text_encoder"])
        noisy = torch.randn(1, channels, 16, 16, generator=torch.Generator().manual_seed(0))
        velocity = predict(loaded, noisy, torch.tensor([0.5]), text, [])
    assert velocity.shape == noisy.shape
    assert velocity.isfinite().all()
    own = (
        int(next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon")).split()[1])
        * 1024
    )
    print(f"{family}: file {file.stat().st_size}, not mapped {own} bytes")  # noqa: T201 - what the check is run for
    assert own < 0.2 * file.stat().st_size
