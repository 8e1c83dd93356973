"""Messages of the event socket."""

from typing import Annotated, Literal

from pydantic import Field

from graph_runtime.supervisor import RunChanged, RunEvent, RunRemoved
from web.api.models.base import MAX_NUMBER, Message


class DeviceStatus(Message):
    """The load of the machine."""

    device: str
    cpu_percent: float
    memory_used: int
    """Bytes, as all sizes here."""
    memory_total: int
    worker_memory: int
    gpu_used: int
    gpu_total: int
    """0 without a GPU."""


class DeviceChanged(Message):
    """On the socket: the load of the machine, every few seconds."""

    type: Literal["device"] = "device"
    device: DeviceStatus


class FileChanged(Message):
    """On the socket: a saved workflow or a draft has a new revision."""

    type: Literal["workflow", "draft"]
    path: str
    revision: str


ServerMessage = Annotated[RunEvent | RunChanged | RunRemoved | DeviceChanged | FileChanged, Field(discriminator="type")]


class Follow(Message):
    """From the page, on the socket: request this run's events after `seq` (-1: all), and all new ones."""

    follow: Annotated[str, Field(max_length=64)]
    after: Annotated[int, Field(le=MAX_NUMBER)] = -1
