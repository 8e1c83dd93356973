"""The editor's server: composes the parts, starts and stops them."""

import argparse
import asyncio
import contextlib
import logging
import os
import secrets
import signal
import socket
import sys
import webbrowser
from collections.abc import AsyncIterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import web

from graph_runtime.arguments import add_serving
from graph_runtime.discovery import TEMPLATES, load_palette
from graph_runtime.errors import WorkflowError
from graph_runtime.queue import RunStateError
from graph_runtime.session import cache_limit, check_device, default_cache_folder
from graph_runtime.supervisor import Supervisor
from web.api.device import available_devices
from web.api.events import forward, watch_device
from web.api.failures import answering
from web.api.guard import GUARD, Guard, add_headers, guarding
from web.api.hub import Closing, Hub
from web.api.page import show_asset, show_page
from web.api.path_access import PathAccess
from web.api.planner import Planner
from web.api.route import register
from web.api.services import SERVICES, Services, Settings
from web.api.stored import StoredFolder
from web.api.table import ROUTES
from web.api.thumbnails import Thumbnails
from web.api.uploads import sweep

LOG = logging.getLogger("latentloom")
MAX_JSON_BYTES = 20 * 10**6
IDLE_SECONDS = 75.0
SHORTEST_TOKEN = 16
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def make_services(settings: Settings) -> Services:
    """Return the services that the handlers use."""
    return Services(
        settings=settings,
        load_palette=load_palette,
        paths=PathAccess(settings.root, (TEMPLATES,)),
        planner=Planner(settings.root, settings.cache, load_palette),
        supervisor=Supervisor(settings.root, settings.state, settings.output, settings.cache, settings.devices),
        hub=Hub(),
        workflows=StoredFolder(settings.root / "workflows", "workflow"),
        drafts=StoredFolder(settings.state / "drafts", "draft"),
        thumbnails=Thumbnails(settings.state / "thumbnails"),
    )


def make_app(services: Services, guard: Guard) -> web.Application:
    """Return the application, every route behind the guard."""
    app = web.Application(middlewares=[answering, guarding], client_max_size=MAX_JSON_BYTES)
    app[SERVICES], app[GUARD] = services, guard
    register(app, ROUTES)
    app.router.add_get("/", show_page)
    app.router.add_get("/{path:(?!api/).+}", show_asset)
    app.on_response_prepare.append(add_headers)
    app.cleanup_ctx.append(_background)
    app.on_shutdown.append(_say_goodbye)
    return app


async def _background(app: web.Application) -> AsyncIterator[None]:
    services = app[SERVICES]
    sweep(services.settings.state)
    for problem in services.supervisor.problems:
        LOG.warning("%s %s", problem.message, problem.remedy)
    services.supervisor.listen(lambda change: forward(services, change))
    await services.supervisor.start()
    early = asyncio.to_thread(load_palette)  # the page will request it next
    tasks = [asyncio.create_task(work) for work in (early, services.planner.close_when_idle(), watch_device(services))]
    yield
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await services.supervisor.stop()
    await services.planner.close()
    services.thumbnails.close()


async def _say_goodbye(app: web.Application) -> None:
    app[SERVICES].hub.broadcast(Closing())


async def serve(options: argparse.Namespace, settings: Settings) -> None:
    """Serve until asked to stop."""
    stop = _stop_signal()  # before the address is printed, so that no stop is missed
    guard = Guard(options.host, options.port, settings.token)
    runner = web.AppRunner(
        make_app(make_services(settings), guard), access_log=None, keepalive_timeout=IDLE_SECONDS, shutdown_timeout=5.0
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port).start()
        reachable = socket.gethostname() if guard.host in LOOPBACK else guard.host
        caution = "" if guard.is_local else " (others can reach it: keep the token to yourself)"
        LOG.warning("Latent Loom serves %s at %s%s", settings.root, address_at(reachable, guard), caution)
        if options.open:
            webbrowser.open(address_at(LOOPBACK.get(guard.host, guard.host), guard))
        await stop.wait()
    finally:
        await runner.cleanup()


def free_port(host: str) -> int:
    """Return a free port."""
    family, _, _, _, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)[0]
    with socket.socket(family) as probe:
        probe.bind(address)
        return probe.getsockname()[1]


def address_at(host: str, guard: Guard) -> str:
    """Return the page's address at `host`, with the token where one is required."""
    name = f"[{host}]" if ":" in host else host
    return f"http://{name}:{guard.port}/" + ("" if guard.is_local else f"?{urlencode({'token': guard.token})}")


def _stop_signal() -> asyncio.Event:
    """Return an event that is set when the process is asked to stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError):  # Windows
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


def main(arguments: list[str] | None = None) -> int:
    """Read the options and serve the workspace."""
    parser = argparse.ArgumentParser(prog="latentloom serve", description="Serve the editor for one workspace.")
    add_serving(parser)
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    root = Path(options.workspace).resolve()
    if not root.is_dir():
        parser.error(f"the workspace {root} is not a folder")
    try:
        options.port = options.port or free_port(options.host)
        cache_limit()
        check_device(options.device)
    except (OSError, UnicodeError) as error:
        parser.error(f"nothing can be served at the host {options.host[:80]!r}: {getattr(error, 'strerror', None) or error}")
    except WorkflowError as error:
        parser.error(str(error))
    settings = _settings(options, root)
    if not Guard(options.host, options.port, settings.token).is_local and len(settings.token) < SHORTEST_TOKEN:
        parser.error(f"LATENTLOOM_TOKEN needs at least {SHORTEST_TOKEN} characters when others can reach the server")
    # a source checkout builds its page; an installed program includes it
    problem = import_module("web.build").ensure_built() if find_spec("web.build") else ""
    if problem:
        LOG.warning(problem)
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(serve(options, settings))
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or error
        LOG.error("%s:%s cannot be served: %s.", options.host[:80], options.port, reason)
        return 1
    except RunStateError as error:
        LOG.error("%s %s", error, error.remedy)
        return 1
    return 0


def _settings(options: argparse.Namespace, root: Path) -> Settings:
    return Settings(
        root=root,
        output=Path(options.output).resolve() if options.output else root / "outputs",
        cache=Path(options.cache) if options.cache else default_cache_folder(),
        devices=available_devices() if options.device == "auto" else (options.device,),
        token=os.environ.get("LATENTLOOM_TOKEN") or secrets.token_urlsafe(32),
    )


if __name__ == "__main__":
    sys.exit(main())
