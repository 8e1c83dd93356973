"""Broadcasting: every open socket has an outbox, and a message goes into all of them."""

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass

from pydantic import BaseModel

from graph_runtime.events import NodeProgress
from graph_runtime.supervisor import RunChanged, RunEvent
from web.api.models import DeviceChanged, FileChanged

MAX_WAITING = 10_000
"""Items after which a slow page is disconnected; it reconnects and asks for the events that it missed."""
MAX_SOCKETS = 64


@dataclass(frozen=True)
class Replay:
    """In an outbox: send the stored events of a run after `after` here."""

    run: str
    after: int


class Closing:
    """In an outbox: the server stops."""


Item = BaseModel | Replay | Closing


class Outbox:
    """The items to be sent on one socket, in order; of progress and status only the newest item is kept."""

    def __init__(self) -> None:
        self.followed: set[str] = set()
        self.overflowed = False
        self._waiting: OrderedDict[Hashable, Item] = OrderedDict()
        self._filled = asyncio.Event()

    def put(self, item: Item) -> None:
        """Add an item; events of runs that the page does not follow are left out."""
        if isinstance(item, RunEvent) and item.run not in self.followed:
            return
        place = _place(item)
        self._waiting.pop(place, None)
        self._waiting[place] = item
        self.overflowed = self.overflowed or len(self._waiting) > MAX_WAITING
        self._filled.set()

    def follow(self, run: str, after: int) -> None:
        """Replay a run's stored events, then send its live ones."""
        self.followed.add(run)
        self.put(Replay(run, after))

    async def take(self) -> Item:
        """Return the next item, waiting for it."""
        while not self._waiting:
            self._filled.clear()
            await self._filled.wait()
        return self._waiting.popitem(last=False)[1]


class Hub:
    """The outboxes of all open sockets."""

    def __init__(self) -> None:
        self.outboxes: set[Outbox] = set()

    def broadcast(self, item: BaseModel | Closing) -> None:
        """Send an item to every socket."""
        for outbox in self.outboxes:
            outbox.put(item)


def _place(item: Item) -> Hashable:
    match item:
        case RunEvent(run=run, event=NodeProgress(node=node)):
            return "progress", run, node
        case RunEvent(run=run, event=event):
            return "event", run, event.seq
        case RunChanged(run=run):
            return "run", run.id
        case FileChanged(type=kind, path=path):
            return kind, path
        case DeviceChanged():
            return "device"
        case _:
            return object()
