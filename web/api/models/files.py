"""Messages about files, models and datasets of the workspace."""

from typing import Literal

from web.api.models.base import Message


class FileEntry(Message):
    """A file or folder of the workspace."""

    name: str
    path: str
    kind: Literal["folder", "image", "model", "workflow", "file"]
    bytes: int
    modified: float


class FileList(Message):
    """What a folder of the workspace holds."""

    path: str
    parent: str | None
    """The folder above; null at the workspace's root."""
    entries: list[FileEntry]
    images: int
    """Number of pictures directly in it."""


class Uploaded(Message):
    """Where an uploaded file lies now."""

    path: str


class ModelEntry(Message):
    """A model that LoadModel can open."""

    reference: str
    title: str
    family: str


class ModelList(Message):
    """The bundled model, then those found in the workspace."""

    models: list[ModelEntry]


class DatasetItem(Message):
    """A picture of a dataset with its caption."""

    name: str
    """Path below the dataset's folder."""
    path: str
    """Path in the workspace, for /api/files/content."""
    width: int
    height: int
    caption: str | None
    """Null when the picture has none."""
    bucket: str
    """Size it is trained at, as `WIDTHxHEIGHT`; empty when the picture cannot be read."""
    repeats: int
    """How often it counts, as its folder's name says."""
    problem: str
    """What is wrong with the picture or its caption; empty when it is fine."""


class Dataset(Message):
    """The pictures of a folder."""

    folder: str
    items: list[DatasetItem]
    notes: list[str]
    """What a person should know of how it was read: what is left out, repeated or guessed."""


class CaptionsRequest(Message):
    """New captions by picture name; each is written to the file beside its picture, `.txt` where there is none."""

    folder: str
    captions: dict[str, str]
    seen: dict[str, str | None]
    """The captions as they were read, by picture name; one that has changed since then is not written over."""
