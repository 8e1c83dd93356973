"""A workspace with a cache in which single nodes run."""

import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from graph_runtime.cache import Cache, digest_file
from graph_runtime.context import RunContext
from graph_runtime.workspace import OutsideReader, Workspace
from nodes.data.caption_dataset import CaptionDataset
from nodes.data.load_images import LoadImages
from nodes.diffusion.handles.datasets import CaptionedDataset, ImageDataset

NODES = Path(__file__).parent.parent.parent / "nodes"


class Messages:
    """Notes what a node reports."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.totals: list[int] = []
        self.steps: list[int] = []
        """The steps of numbers."""

    def progress(self, step: int, total: int) -> None:
        self.totals.append(total)

    def metric(self, step: int, values: Mapping[str, float], *, earlier: bool = False) -> None:
        self.steps.append(step)

    def preview(self, step: int, file: Path, *, earlier: bool = False) -> None: ...

    def message(self, text: str, level: str) -> None:
        self.texts.append(text)


class NodeRunner:
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
        self.messages.texts += files.warnings
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


def images(runner: NodeRunner, **fields: Any) -> ImageDataset:
    return runner.run(LoadImages(**{"folder": "p", "resolution": 32, **fields}))


def captions(runner: NodeRunner, loaded: ImageDataset, **fields: Any) -> CaptionedDataset:
    return runner.run(CaptionDataset(**fields), images=loaded)
