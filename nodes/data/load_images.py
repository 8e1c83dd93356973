"""LoadImages."""

from pathlib import PurePosixPath
from typing import IO, Annotated, ClassVar

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Node, OutsideFiles, WorkspaceFolder
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.datasets import ImageDataset, Picture, View
from nodes.diffusion.pictures.caption_files import read_captions
from nodes.diffusion.pictures.picture_folders import MAX_REPEATS, folder_repeats, left_out_warnings, read_folder, repeats_notes
from nodes.diffusion.pictures.picture_kinds import readable_suffixes

ENLARGED = 4
"""The enlargement of a picture above which a warning is shown."""


class LoadImages(Node):
    """Find the pictures of a folder, with their captions, and say how each is cut to size.

    Reads folders with `.txt` or `.caption` files beside the pictures, with a `metadata.jsonl` or `metadata.csv` (Hugging Face
    imagefolder), and `<repeats>_<name>` folders (kohya). Pictures that cannot be read are reported and left out;
    of an animated picture the first frame is taken. HEIC and JPEG XL need the extra `latentloom[pictures]`.
    """

    version: ClassVar[int] = 2

    synonyms: ClassVar[tuple[str, ...]] = ("dataset", "picture folder", "training images", "buckets")

    folder: WorkspaceFolder
    """Folder of pictures; folders inside it count too."""
    resolution: Annotated[int, Field(ge=32, le=4096, multiple_of=8)] = 128
    """Side of the square that is trained on, in pixels: 512 for SD 1.x, 1024 for SDXL, 128 for the bundled model."""
    buckets: bool = False
    """Keep each picture's aspect ratio, to the nearest of a set of sizes, instead of cutting a square."""
    bucket_step: Annotated[int, Field(ge=8, le=256, multiple_of=8)] = 64
    """Sides of buckets are multiples of this many pixels."""
    random_crops: Annotated[int, Field(ge=0, le=64)] = 0
    """Number of random crops kept of each picture; 0 takes the center."""
    flip: bool = False
    """Show each view mirrored too."""
    smaller_copies: Annotated[int, Field(ge=0, le=64)] = 0
    """Smaller copies kept of each picture, at random places on the background: the loss looks at the picture alone. Custom
    diffusion puts `very small` before their captions; 2 is good there."""
    background: Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$", json_schema_extra={"widget": "color"})] = "#ffffff"
    """Color behind transparent pixels."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses the random crops."""
    max_repeats: Annotated[int, Field(ge=1, le=10_000)] = MAX_REPEATS
    """A folder that begins with a larger number and `_` is taken for a name, such as `2019_summer`, and not for repeats."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        folder = files.resolve(self.folder)
        if not folder.is_dir():
            raise InputError(f"there is no folder {self.folder!r}.", field="folder")
        found = read_folder(folder, files.resolve)
        left_out = left_out_warnings(found.left_out)
        if not found.pictures:
            kinds = ", ".join(sorted(readable_suffixes()))
            message = " ".join([f"{self.folder!r} holds no pictures.", *left_out])
            raise InputError(message, field="folder", remedy=f"Pictures end in {kinds}.")
        captions = read_captions(found)
        for problem in captions.problems.values():
            raise problem
        files.warnings += [*left_out, *captions.all_notes()]
        return {
            "pictures": {found.name(path): files.digest_file(str(path)) for path in found.pictures},
            "texts": dict[str, Json](captions.texts),
        }

    def known(self, files: OutsideFiles) -> Json:
        return {"has_captions": bool(read_folder(files.resolve(self.folder), files.resolve).texts)}

    def run(self, context: RunContext) -> ImageDataset:
        background = tuple(int(self.background[at : at + 2], 16) for at in (1, 3, 5))
        found: dict[str, str] = context.fingerprint["pictures"]
        texts: dict[str, str] = context.fingerprint["texts"]
        pictures: list[Picture] = []
        for number, (name, digest) in enumerate(found.items(), 1):
            try:
                with context.open(digest) as file:
                    size = _size(file, name)
                repeats, _ = folder_repeats(PurePosixPath(name).parent.name, self.max_repeats)
                pictures.append(Picture(digest, name, *size, self._views(size, digest), texts.get(name), repeats))
            except InputError as error:
                context.message(f"{name} is left out: {error}", "warning")
            context.progress(number, len(found))
        self._warn_of_repeats(pictures, context)
        self._warn_of_small(pictures, context)
        if not pictures:
            raise InputError("none of the pictures can be read.", field="folder")
        return ImageDataset(tuple(pictures), background)  # pyright: ignore[reportArgumentType]

    def _warn_of_repeats(self, pictures: list[Picture], context: RunContext) -> None:
        notes, warned = repeats_notes([picture.name for picture in pictures], self.max_repeats)
        for text in notes:
            context.message(text)
        for text in warned:
            context.message(text, "warning")

    def _warn_of_small(self, pictures: list[Picture], context: RunContext) -> None:
        small = [picture for picture in pictures if min(picture.width, picture.height) * ENLARGED < self.resolution]
        if small:
            first = f"{small[0].name} ({small[0].width} x {small[0].height})"
            others = f" and {len(small) - 1} more" if small[1:] else ""
            context.message(f"enlarged more than {ENLARGED} times: {first}{others}.", "warning")

    def _views(self, size: tuple[int, int], digest: str) -> tuple[View, ...]:
        target = (self.resolution, self.resolution)
        if self.buckets:
            target = diffusion.pictures.nearest_bucket(
                size, diffusion.pictures.bucket_sizes(self.resolution, min(self.bucket_step, self.resolution))
            )
        chosen = {"random_crops": self.random_crops, "smaller_copies": self.smaller_copies}
        return diffusion.pictures.plan_views(size, target, flip=self.flip, seed=f"{self.seed} {digest}", **chosen)


def _size(file: IO[bytes], name: str) -> tuple[int, int]:
    """Decode the whole picture, so that damage shows here and not in the middle of the work."""

    return diffusion.pictures.open_picture(file, name=name).size
