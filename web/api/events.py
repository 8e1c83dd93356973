"""The event socket: sends each followed run's events once and in order, also after a reconnect."""

import asyncio
import contextlib
import json
import logging

from aiohttp import WSCloseCode, WSMsgType, web
from pydantic import BaseModel, ValidationError

from graph_runtime.supervisor import RunChanged, RunEvent
from web.api.device import device_status
from web.api.hub import MAX_SOCKETS, Closing, Item, Outbox, Replay
from web.api.models import DeviceChanged, Follow
from web.api.refusal import refused
from web.api.services import Services

HEARTBEAT_SECONDS = 20.0
SEND_SECONDS = 30.0
DEVICE_SECONDS = 3.0
MAX_MESSAGE = 4096
AT_ONCE = 200
LOG = logging.getLogger("latentloom")


async def open_socket(services: Services, request: web.Request) -> web.StreamResponse:
    """Serve a page's socket until it closes or the page falls too far behind."""
    hub = services.hub
    if len(hub.outboxes) >= MAX_SOCKETS:
        raise refused(503, "Too many pages are open.", "Close some.")
    outbox = Outbox()
    hub.outboxes.add(outbox)
    try:
        socket = web.WebSocketResponse(heartbeat=HEARTBEAT_SECONDS, max_msg_size=MAX_MESSAGE, compress=False)
        await socket.prepare(request)
        for run in services.supervisor.list(None, 1):
            if run.finished is None:
                outbox.put(RunChanged(run=run))
        sender = asyncio.create_task(_Sender(services, socket, outbox).work())
        await _listen(services, socket, outbox)
    finally:
        hub.outboxes.discard(outbox)
    sender.cancel()
    await asyncio.gather(sender, return_exceptions=True)
    return socket


async def watch_device(services: Services) -> None:
    """Send the load of the machine to all pages, while there are any."""
    while True:
        await asyncio.sleep(DEVICE_SECONDS)
        if services.hub.outboxes:
            services.hub.broadcast(DeviceChanged(device=await device_status(services)))


async def _listen(services: Services, socket: web.WebSocketResponse, outbox: Outbox) -> None:
    """Receive messages of the page; unknown runs are not followed, so that the state of a socket is bounded."""
    async for message in socket:
        try:
            wish = Follow.model_validate_json(message.data if message.type == WSMsgType.TEXT else b"")
        except ValidationError:
            await socket.close(code=WSCloseCode.INVALID_TEXT, message=b"not understood")
            return
        with contextlib.suppress(KeyError):
            outbox.follow(services.supervisor.get(wish.follow).id, wish.after)


class _Sender:
    """Sends the items of an outbox; an event that was sent already is not sent again."""

    def __init__(self, services: Services, socket: web.WebSocketResponse, outbox: Outbox) -> None:
        self._services = services
        self._socket = socket
        self._outbox = outbox
        self._sent: dict[str, int] = {}

    async def work(self) -> None:
        """Send until the socket is closed."""
        try:
            while not self._outbox.overflowed and not self._socket.closed:
                await self._handle(await self._outbox.take())
            await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"too far behind")
        except (ConnectionError, TimeoutError):
            await self._socket.close(code=WSCloseCode.TRY_AGAIN_LATER)
        except Exception:
            LOG.exception("a socket failed")
            await self._socket.close(code=WSCloseCode.INTERNAL_ERROR)

    async def _handle(self, item: Item) -> None:
        match item:
            case Replay(run=run, after=after):
                with contextlib.suppress(KeyError):  # the run was removed
                    await self._replay(run, max(after, -1))
            case RunEvent(run=run, event=event):
                if event.seq > self._sent[run]:
                    self._sent[run] = event.seq
                    await self._send(item.model_dump_json(by_alias=True))
            case Closing():
                await self._socket.close(code=WSCloseCode.GOING_AWAY)
            case BaseModel():
                await self._send(item.model_dump_json(by_alias=True))

    async def _replay(self, run: str, after: int) -> None:
        """Send stored events unchanged; line N of a run's log holds event N."""
        self._sent[run] = after
        for seq, event in enumerate(await self._services.supervisor.events(run, after), after + 1):
            self._sent[run] = seq
            if event:
                await self._send(f'{{"type":"event","run":{json.dumps(run)},"event":{event}}}')
            if seq % AT_ONCE == 0:
                await asyncio.sleep(0)  # sending waits only for a slow page, so yield to other tasks

    async def _send(self, text: str) -> None:
        async with asyncio.timeout(SEND_SECONDS):
            await self._socket.send_str(text)
