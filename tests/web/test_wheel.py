"""What is installed with pip brings the page along and needs no Node."""

import os
import re
import socket
import subprocess
import sys
import tarfile
import time
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.shell import ROOT
from web.build import ensure_built

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert ensure_built() == ""
    folder = tmp_path_factory.mktemp("sdist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(folder)], cwd=ROOT, check=True)
    return next(folder.glob("*.tar.gz"))


@pytest.fixture(scope="module")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel from the source distribution, where no Node is to be found."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(sdist)], env={**os.environ, "PATH": ""}, check=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a folder that is found before this checkout."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--quiet", "--no-deps", "--no-index", "--target", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(wheel)], check=True)
    return folder


def answers(address: str) -> bool:
    try:
        return urllib.request.urlopen(address).status == 200
    except OSError:
        return False


@pytest.fixture
def address(installed: Path, tmp_path: Path) -> Iterator[str]:
    """Where the installed program serves."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, str(installed / "bin" / "latentloom"), "serve", "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(installed), "PATH": ""}
    process = subprocess.Popen([*command, "--cache", str(tmp_path / "cache")], cwd=tmp_path, env=environment)
    while not answers(address := f"http://127.0.0.1:{port}"):
        assert process.poll() is None
        time.sleep(0.1)
    yield address
    process.terminate()
    process.wait()


def test_the_source_distribution_holds_sources_and_page(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"web/src/main.tsx", "web/package-lock.json", "web/hatch_build.py", "web/static/index.html"} <= names
    assert not [name for name in names if "node_modules" in name]


def test_the_wheel_holds_the_page_and_not_its_sources(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        page = archive.read("web/static/index.html").decode()
    assert {"server.py", "web/api/page.py", "web/api/table.py"} <= names
    assert {f"web/static{part}" for part in re.findall(r'(?:src|href)="\.?(/[^"]+)"', page)} <= names
    kinds = {name.split("/")[1] for name in names if name.startswith("web/")}
    assert kinds == {"__init__.py", "api", "static"}


def test_the_wheel_holds_the_vocabularies(wheel: Path) -> None:
    own = {path.relative_to(ROOT).as_posix() for path in (ROOT / "nodes").rglob("*.xz")}
    assert len(own) >= 3
    with zipfile.ZipFile(wheel) as archive:
        assert own <= set(archive.namelist())


def test_the_installed_program_answers_with_its_page(installed: Path, address: str) -> None:
    page = urllib.request.urlopen(f"{address}/").read()
    assert page == (installed / "web" / "static" / "index.html").read_bytes()
    assert b"<title>Latent Loom</title>" in page
    for part in re.findall(r'(?:src|href)="\.?(/[^"]+)"', page.decode()):
        assert urllib.request.urlopen(address + part).status == 200
    assert "LoadModel" in urllib.request.urlopen(f"{address}/api/nodes").read().decode()
