"""The options of the command line."""

import argparse
import contextlib
import re
from importlib.metadata import version

MAX_GIGABYTES = 1_000_000
MAX_PORT = 65535


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    """Return the parsed options; exit with status 2 and a usage line when they are wrong."""
    parser = argparse.ArgumentParser(prog="latentloom", description="Train and merge diffusion models as graphs of nodes.")
    parser.add_argument("--version", action="version", version=f"latentloom {version('latentloom')}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands.add_parser("run", help="execute a workflow"))
    for name, text in (
        ("validate", "name every problem of a workflow"),
        ("plan", "say which nodes would run and which are cached"),
    ):
        _add_workflow(commands.add_parser(name, help=text))
    nodes = commands.add_parser("nodes", help="list the nodes, or describe one")
    nodes.add_argument("name", nargs="?", metavar="NAME", help="class name of a node")
    _add_json(nodes)
    cache = commands.add_parser("cache", help="show, shrink or empty the cache")
    cache.add_argument("action", choices=["info", "prune", "clear"], help="prune evicts what was used longest ago")
    cache.add_argument("--max-gb", type=_gigabytes, metavar="GB", help="size to prune to, in GB of 10^9 bytes (default: the cap)")
    _add_cache(cache)
    _add_json(cache)
    inspect = commands.add_parser("inspect", help="show what made a saved file, or what a workflow is made of")
    inspect.add_argument(
        "artifact", metavar="ARTIFACT", help="a .safetensors, .pt or .png made by this program, or a workflow (.json)"
    )
    inspect.add_argument("--workflow", action="store_true", help="print the workflow alone, ready to be run again")
    _add_json(inspect)
    add_serving(commands.add_parser("serve", help="serve the editor to the browser"))
    return parser.parse_args(arguments)


def _add_run(parser: argparse.ArgumentParser) -> None:
    _add_workflow(parser)
    parser.add_argument("--output", metavar="DIR", help="where files go (default: outputs/ in the workspace)")
    parser.add_argument("--device", default="auto", type=_device, help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--no-cache", action="store_true", help="compute everything anew and keep nothing")


def add_serving(parser: argparse.ArgumentParser) -> None:
    """Add the options of the server."""
    parser.add_argument("--host", default="127.0.0.1", help="address to listen at; beyond this machine, a token is asked for")
    parser.add_argument("--port", type=_port, default=8199, help="0 takes any port that is free")
    parser.add_argument("--workspace", default=".", metavar="DIR", help="folder that the editor works in")
    parser.add_argument("--output", metavar="DIR", help="where files go (default: outputs/ in the workspace)")
    parser.add_argument("--device", default="auto", type=_device, help="auto, cpu, cuda, cuda:N or mps")
    parser.add_argument("--open", action="store_true", help="open the editor in the browser")
    _add_cache(parser)


def _add_workflow(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="a workflow (JSON)")
    again = "may be given several times"
    parser.add_argument("--set", action="append", default=[], metavar="NODE.FIELD=VALUE", help=f"change a field; {again}")
    target = f"run only this node and what it needs; {again} (default: the nodes that save or show something)"
    parser.add_argument("--target", action="append", default=[], metavar="NODE", help=target)
    parser.add_argument("--workspace", default=".", metavar="DIR", help="folder that paths in the workflow start from")
    _add_cache(parser)
    _add_json(parser)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cache", metavar="DIR", help="cache folder (default: LATENTLOOM_CACHE, or the user's cache folder)")


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="machine-readable output")


def gigabytes(text: str) -> int:
    """Return the bytes of a text's number of gigabytes (10^9); raise ValueError when no disk has so many."""
    with contextlib.suppress(ValueError):
        if 0 <= (value := float(text)) <= MAX_GIGABYTES:
            return int(value * 1e9)
    raise ValueError(f"a number of gigabytes (10^9 bytes) from 0 to {MAX_GIGABYTES:,} is needed")


def _gigabytes(text: str) -> int:
    try:
        return gigabytes(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= MAX_PORT):
        raise argparse.ArgumentTypeError(f"a whole number from 0 to {MAX_PORT} is needed; 0 takes any port that is free")
    return int(text)


def _device(text: str) -> str:
    if not re.fullmatch("auto|cpu|mps|cuda(:[0-9]{1,2})?", text):
        raise argparse.ArgumentTypeError("choose auto, cpu, cuda, cuda:N or mps")
    return text
