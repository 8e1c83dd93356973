"""Peak memory of a run over ten times as many pictures: it must not grow with the dataset.

python tests/bench/memory.py
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

from tests.bench.figures import record

ROOT = Path(__file__).parent.parent.parent
SCRIPT = "import resource, sys; from graph_runtime.__main__ import main; main(sys.argv[1:]); " + (
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
)


def peak_mib(count: int) -> float:
    """Run the demo's data nodes and a few training steps over `count` pictures; return the process's peak RSS."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "pictures"
        folder.mkdir()
        for number in range(count):
            Image.effect_noise((256, 256), 40).convert("RGB").save(folder / f"thing_{number}.png")
        fields = {"images.folder": folder, "images.resolution": 64, "train.max_steps": 3, "train.batch_size": 2}
        options = [part for key, value in fields.items() for part in ("--set", f"{key}={value}")]
        arguments = [
            "run",
            "workflows/lora.json",
            *options,
            "--target",
            "train",
            "--cache",
            f"{name}/c",
            "--output",
            f"{name}/o",
            "--json",
        ]
        done = subprocess.run([sys.executable, "-c", SCRIPT, *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    lines = done.stdout.splitlines()
    assert json.loads(lines[-2])["status"] == "succeeded"
    return int(lines[-1]) / 1024


def main() -> None:
    few, many = peak_mib(60), peak_mib(600)
    record("peak memory with 60 pictures", few, "MiB")
    record("peak memory with 600 pictures", many, "MiB")


if __name__ == "__main__":
    main()
