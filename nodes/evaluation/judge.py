"""The eye of ScoreImages: a CLIP and the references, loaded when the first row is measured."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from graph_runtime.context import RunContext
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.clip_folders import ClipFolders, clip_folders
from nodes.diffusion.handles.datasets import ImageDataset
from nodes.diffusion.handles.results import GeneratedImage

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor, device


def checked_meanings(lines: str) -> str:
    """Return lines of `placeholder=words` as they are; raise ValueError when one is not."""
    if any(not line.partition("=")[0].strip() or "=" not in line for line in lines.splitlines() if line.strip()):
        raise ValueError("each line is a placeholder, an equals sign and what it means, such as <fox>=fox")
    return lines


def meanings(lines: str) -> dict[str, str]:
    """Return what each placeholder means."""
    pairs = [line.partition("=") for line in lines.splitlines() if line.strip()]
    return {placeholder.strip(): words.strip() for placeholder, _, words in pairs}


@dataclass
class Judge:
    """Measures rows of pictures."""

    references: ImageDataset | None
    meanings: dict[str, str]
    """The meanings of placeholders in prompts."""
    psnr: bool
    context: RunContext

    def measure(self, row: Sequence[GeneratedImage]) -> dict[str, float]:
        """Return the numbers of one row, by name."""
        import torch

        pictures, values = [diffusion.pictures.open_picture(image.file) for image in row], dict[str, float]()
        if self.psnr:
            _check_sizes(pictures, self.shown)
            values["psnr"] = diffusion.pictures.mean_psnr(pictures, self.shown)
        embeddings = [self._embedded(picture) for picture in pictures]
        if self.references:
            values["clip_i"] = diffusion.pictures.clip_i(torch.stack(embeddings), self.wanted)
        prompts = [diffusion.pictures.in_known_words(image.prompt, self.meanings) for image in row]
        prompted = [number for number, prompt in enumerate(prompts) if prompt]
        if prompted:
            texts = {prompt: self.embed_text(prompt) for prompt in dict.fromkeys(prompts) if prompt}
            found = torch.stack([embeddings[number] for number in prompted])
            values["clip_t"] = diffusion.pictures.clip_t(found, torch.stack([texts[prompts[number]] for number in prompted]))
        return values

    def distance(self, row: Sequence[GeneratedImage], other: Sequence[GeneratedImage]) -> float:
        """Return how far pictures are from others of the same prompts: 1 minus the mean cosine of their embeddings."""
        import torch

        one, two = (
            torch.stack([self._embedded(diffusion.pictures.open_picture(image.file)) for image in images])
            for images in (row, other)
        )
        return max(0.0, float(1 - torch.cosine_similarity(one, two).mean()))

    @cached_property
    def shown(self) -> list["Image"]:
        """The references as they are shown to a model."""

        data = self.references
        assert data is not None
        return [
            diffusion.pictures.render(diffusion.pictures.picture_of(p, self.context.open, data.background), p.views[0])
            for p in data.pictures
        ]

    @cached_property
    def wanted(self) -> "Tensor":
        """The references' embeddings [n, d]."""
        import torch

        return torch.stack([self._embedded(picture) for picture in self.shown])

    def _embedded(self, picture: "Image") -> "Tensor":
        self.context.stop_if_asked()
        return self.embed(picture)

    @cached_property
    def embed(self) -> Callable[["Image"], "Tensor"]:
        return diffusion.pictures.load_image_embedder(self._folders.image_encoder, self._folders.feature_extractor, self._device)

    @cached_property
    def embed_text(self) -> Callable[[str], "Tensor"]:
        return diffusion.text.load_text_embedder(self._folders, self._device)

    @cached_property
    def _folders(self) -> ClipFolders:
        return clip_folders(self.context.locate(self.context.fingerprint))

    @cached_property
    def _device(self) -> "device":
        return diffusion.choose_device(self.context.device)


def _check_sizes(pictures: Sequence["Image"], references: Sequence["Image"]) -> None:
    for picture, reference in zip(pictures, references, strict=True):
        if picture.size != reference.size:
            sizes = " and ".join(f"{width} x {height}" for width, height in (picture.size, reference.size))
            remedy = "Load the references at the resolution of the pictures, or turn psnr off."
            raise InputError(f"a picture and its reference differ in size: {sizes}.", field="references", remedy=remedy)
