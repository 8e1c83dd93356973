"""SaveImages."""

from pathlib import PurePath
from typing import ClassVar

from graph_runtime.context import METADATA_KEY, Artifact, RunContext
from graph_runtime.node import FileName, Node
from nodes import diffusion
from nodes.diffusion.handles.results import GeneratedImage, ImageSet


class SaveImages(Node):
    """Write pictures as PNG files that carry the workflow that made them."""

    synonyms: ClassVar[tuple[str, ...]] = ("save image", "export pictures", "preview image")
    side_effects: ClassVar[bool] = True
    version: ClassVar[int] = 2

    filename: FileName = "image"
    """Name of the files; several get a number each."""

    def run(self, images: ImageSet, context: RunContext) -> tuple[Artifact, ...]:
        stem = self.filename[:-4] if PurePath(self.filename).suffix.lower() == ".png" else self.filename
        several = len(images.images) > 1
        return tuple(
            Artifact(
                f"{stem}-{number:03d}.png" if several else f"{stem}.png",
                context.add_file(".png", self._writer(image, context)),
                caption=image.label,
                group=image.prompt,
            )
            for number, image in enumerate(images.images, 1)
        )

    @staticmethod
    def _writer(image: GeneratedImage, context: RunContext):
        from PIL import Image

        with Image.open(image.file) as opened:
            picture = opened.convert("RGB")
            parameters = opened.text.get("parameters") if hasattr(opened, "text") else None  # pyright: ignore
        texts = {"parameters": parameters} if parameters else {}
        texts[METADATA_KEY] = context.provenance.text()
        return lambda path: diffusion.pictures.save_png(picture, path, texts)
