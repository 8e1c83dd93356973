"""CaptionDataset."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from graph_runtime.context import RunContext
from graph_runtime.node import Json, Known, Node, OutsideFiles, Wired, WorkspaceFile, WorkspaceFolder
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.text_files import guess_warnings, read_text, some
from nodes.diffusion.formats.weight_files import PLAIN
from nodes.diffusion.handles.datasets import CaptionedDataset, ImageDataset, Picture
from nodes.diffusion.handles.prompt_checks import network_in, unread_weights_warning
from nodes.diffusion.pictures.caption_templates import caption_from_name, checked_template, fill, shuffled, words_of_folder

if TYPE_CHECKING:
    from PIL.Image import Image

WORDS = Path(__file__).parent / "words.txt"
CLIP = Path(__file__).parent.parent / "models" / "loom_emoji"

ADD_CAPTIONS = "Put a .txt or .caption file beside each, or choose another source."


class CaptionDataset(Node):
    """Say in words what each picture shows: from files, from its name, or from what a model sees in it."""

    synonyms: ClassVar[tuple[str, ...]] = ("tagger", "WD14", "BLIP", "interrogate", "captions", "trigger word")

    source: Literal["sidecar", "file name", "tags", "captioner"] = "sidecar"
    """`sidecar`: the text that came with the picture. `file name`: the name, without number and extension.
    `tags`: words of the word list that the bundled CLIP finds in it. `captioner`: a sentence from a BLIP-like model."""
    template: Annotated[str, AfterValidator(checked_template)] = "{caption}"
    """The whole caption: `{caption}` is what the source says, `{name}` the file's name, `{trigger}` the trigger word,
    `{folder}` the name of the folder inside the data set's that the picture lies in."""
    trigger: str = ""
    """The word that will call what is learned."""
    word_list: WorkspaceFile = ""
    """For `tags`: a text file with one word or phrase per line; empty takes the list that comes with the program."""
    max_tags: Annotated[int, Field(ge=1, le=20)] = 1
    """For `tags`: how many are kept, the likeliest first."""
    captioner: WorkspaceFolder = ""
    """For `captioner`: folder of an image-to-text model that transformers can load."""
    shuffle_tags: bool = False
    """Keep several orders of the comma-separated tags, so that the first are not learned best."""
    keep_tokens: Annotated[int, Field(ge=0, le=50)] = 1
    """Tags at the front that stay in place when tags are shuffled."""
    variants: Annotated[int, Field(ge=2, le=64)] = 8
    """Orders kept per picture when tags are shuffled."""
    caption_dropout: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Share of draws that train without a caption, which keeps guidance strong; 0.05 to 0.1 is usual."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses the orders of shuffled tags."""
    weighted_captions: bool = False
    """Read `(red:1.3)`, `(red)` and `[red]` as weights, as kohya's trainer does with the option of this name: it multiplies what
    the text encoder made of a word, and no more. Off, brackets are letters, also there."""

    def check(self, wired: Wired) -> None:
        if self.source == "captioner" and not self.captioner:
            raise InputError("no captioner is chosen.", field="captioner", remedy="Give the folder of a BLIP-like model.")

    def fingerprint(self, files: OutsideFiles) -> Json:
        if self.source == "tags":
            words = self.word_list or str(WORDS)
            return {"clip": files.digest_folder(str(CLIP), PLAIN), "words": files.digest_file(words)}
        if self.source == "captioner":
            return {"captioner": files.digest_folder(self.captioner, PLAIN)}
        return None

    def check_known(self, known: Known) -> None:
        if self.source == "sidecar" and "{caption}" in self.template:
            for found in known["images"]:
                if not found["has_captions"]:
                    raise InputError("the pictures have no captions.", field="source", remedy=ADD_CAPTIONS)

    def run(self, images: ImageDataset, context: RunContext) -> CaptionedDataset:
        said = self._said(images, context)
        self._check_folders(images)
        captions = tuple(self._variants(picture, text) for picture, text in zip(images.pictures, said, strict=True))
        _warn_of_empty(images, captions, context)
        self._check_syntax(images, captions, context)
        emphasis = "kohya" if self.weighted_captions else "none"
        return CaptionedDataset(images.pictures, images.background, captions, self.caption_dropout, emphasis)

    def _said(self, images: ImageDataset, context: RunContext) -> list[str]:
        """Return what the source says of each picture; nothing when the template does not ask."""
        if "{caption}" not in self.template:
            return [""] * len(images.pictures)
        if self.source == "file name":
            return [caption_from_name(picture.name) for picture in images.pictures]
        if self.source == "sidecar":
            without = [picture.name for picture in images.pictures if picture.text is None]
            if without:
                names = ", ".join(without[:5]) + (" and others" if len(without) > 5 else "")
                raise InputError(f"{len(without)} pictures have no caption: {names}.", field="source", remedy=ADD_CAPTIONS)
            return [picture.text or "" for picture in images.pictures]
        return self._seen(images, context)

    def _check_syntax(self, images: ImageDataset, captions: tuple[tuple[str, ...], ...], context: RunContext) -> None:
        """Refuse captions that name a LoRA, and warn of weights that are taken as letters."""
        for picture, variants in zip(images.pictures, captions, strict=True):
            if problem := network_in(variants[0]):
                raise InputError(f"the caption of {picture.name}: {problem}.", field="source")
        warning = "" if self.weighted_captions else unread_weights_warning("captions", (variants[0] for variants in captions))
        if warning:
            context.message(f"{warning} Turn weighted_captions on if they are meant.", "warning")

    def _check_folders(self, images: ImageDataset) -> None:
        """Raise InputError when the template wants the name of a folder that is not there."""
        above = [picture.name for picture in images.pictures if "/" not in picture.name]
        if above and "{folder}" in self.template:
            remedy = "Put the pictures into folders inside it, or write the words themselves into the template."
            message = f"{some(above)} in no folder inside the data set's, so {{folder}} means nothing there."
            raise InputError(message, field="template", remedy=remedy)

    def _seen(self, images: ImageDataset, context: RunContext) -> list[str]:
        """Return what a model sees in each picture, asked once per picture."""
        keys = [self._key(context.fingerprint, images, picture) for picture in images.pictures]
        missing = [(key, p) for key, p in zip(keys, images.pictures, strict=True) if context.find_item(key) is None]
        if missing:
            see = self._eye(context)
            for number, (key, picture) in enumerate(missing, 1):
                opened = diffusion.pictures.picture_of(picture, context.open, images.background)
                context.keep_item(key, see(opened))
                context.progress(number, len(missing))
        return [context.find_item(key) for key in keys]

    def _key(self, fingerprint: Json, images: ImageDataset, picture: Picture) -> str:
        identity = [self.version, fingerprint, self.max_tags, picture.digest, images.background]
        return "caption:" + hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()

    def _eye(self, context: RunContext) -> Callable[["Image"], str]:
        """A function from an opened picture to words."""

        device = diffusion.choose_device(context.device)
        if self.source == "captioner":
            return diffusion.pictures.load_captioner(context.locate(context.fingerprint["captioner"]), device)

        place = context.locate(context.fingerprint["words"])
        read = read_text(place, field="word_list")
        for warning in guess_warnings({place.name: read.guess} if read.guess else {}):
            context.message(warning, "warning")
        words = [line.strip() for line in read.text.splitlines() if line.strip()]
        if not words:
            raise InputError("the word list is empty.", field="word_list", remedy="Write one word per line.")
        tag = diffusion.pictures.load_tagger(context.locate(context.fingerprint["clip"]), words, device)
        return lambda picture: ", ".join(tag(picture, self.max_tags))

    def _variants(self, picture: Picture, text: str) -> tuple[str, ...]:
        values = {"caption": text, "name": caption_from_name(picture.name), "trigger": self.trigger}
        values["folder"] = words_of_folder(picture.name, picture.repeats)
        caption = fill(self.template, values)
        if not self.shuffle_tags:
            return (caption,)
        seed = f"{self.seed} {picture.name}"
        return shuffled(caption, keep=self.keep_tokens, count=self.variants, seed=seed)


def _warn_of_empty(images: ImageDataset, captions: tuple[tuple[str, ...], ...], context: RunContext) -> None:
    """Say which pictures have captions without words, and warn when all have."""
    empty = [picture.name for picture, variants in zip(images.pictures, captions, strict=True) if not any(variants)]
    if len(empty) == len(images.pictures):
        context.message("all captions are empty, so no word is learned: write some, or choose another source.", "warning")
    elif empty:
        context.message(f"{len(empty)} of {len(images.pictures)} captions are empty, such as that of {empty[0]}.")
