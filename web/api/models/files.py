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
    """The entries of a folder of the workspace."""

    path: str
    parent: str | None
    """The parent folder; null at the workspace's root."""
    entries: list[FileEntry]
    images: int
    """The number of pictures directly in it."""


class Uploaded(Message):
    """The path of an uploaded file."""

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
    """The path below the dataset's folder."""
    path: str
    """The path in the workspace, for /api/files/content."""
    width: int
    height: int
    caption: str | None
    """Null when the picture has none."""
    bucket: str
    """The size for training, as `WIDTHxHEIGHT`; empty when the picture cannot be read."""
    repeats: int
    """The number of repeats, from its folder's name."""
    problem: str
    """The fault of the picture or its caption; empty without one."""


class Dataset(Message):
    """The pictures of a folder."""

    folder: str
    items: list[DatasetItem]
    notes: list[str]
    """Notes on reading: pictures left out or repeated, guessed encodings."""


class CaptionsRequest(Message):
    """New captions by picture name, each written to the file beside its picture, `.txt` where there is none."""

    folder: str
    captions: dict[str, str]
    seen: dict[str, str | None]
    """The captions that the page has read, by picture name; one that has changed since is not overwritten."""
