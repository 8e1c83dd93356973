"""What a path on the command line opens besides itself, and what it does not."""

import hashlib
from pathlib import Path

import pytest

from graph_runtime.overrides import apply_overrides
from graph_runtime.reading import digest_file
from graph_runtime.workflow import workflow_from_json
from graph_runtime.workspace import OutsideReader, PathRefused, Workspace
from tests.graph_runtime import toys
from tests.graph_runtime.conftest import document


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "ws").mkdir()
    made = tmp_path / "Modèles 2"
    made.mkdir()
    (made / "m.safetensors").write_text("weights")
    (made / "m.yaml").write_text("config")
    (tmp_path / "secret").write_text("secret")
    return made


def named(path: Path | str, workspace: Path) -> tuple[str, OutsideReader]:
    """What `--set n.path=PATH` makes of the field, and what may then be read."""
    workflow = workflow_from_json(document({"n": ("ReadFile", {"path": ""})}))
    changed, trusted = apply_overrides(workflow, [f"n.path={path}"], toys.PALETTE, workspace)
    field = changed.nodes["n"].fields["path"]
    assert isinstance(field, str)
    return field, OutsideReader(Workspace(workspace, trusted=tuple(trusted)), digest_file)


def as_repository(root: Path, files: dict[str, str], revision: str = "0123abcd") -> Path:
    """A repository in Hugging Face's cache: files are links to blobs that are called by their content."""
    snapshot, blobs = root / "snapshots" / revision, root / "blobs"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text("0123abcd")
    blobs.mkdir(exist_ok=True)
    for name, text in files.items():
        blob = blobs / hashlib.sha256(text.encode()).hexdigest()
        blob.write_text(text)
        (snapshot / name).parent.mkdir(parents=True, exist_ok=True)
        (snapshot / name).symlink_to(blob)
    return snapshot


def test_a_file_brings_along_what_lies_beside_it_for_its_sake(outside: Path, tmp_path: Path) -> None:
    field, files = named(outside / "m.safetensors", tmp_path / "ws")
    assert files.resolve(field) == outside / "m.safetensors"
    assert files.beside(field, "m.yaml") == outside / "m.yaml"
    assert files.digest_beside(field, "m.yaml") == digest_file(outside / "m.yaml")
    assert files.beside(field, "n.yaml") is None
    with pytest.raises(PathRefused):
        files.resolve(str(tmp_path / "secret"))
    with pytest.raises(PathRefused):
        files.resolve(f"{field}/../../secret")


def test_a_link_is_opened_under_its_own_name_with_what_lies_beside_its_target(outside: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.safetensors"
    (outside / "m.safetensors").rename(outside / "blob")
    (outside / "m.yaml").rename(outside / "link.yaml")
    link.symlink_to(outside / "blob")
    field, files = named(link, tmp_path / "ws")
    assert files.resolve(field).name == "link.safetensors"
    assert files.digest_file(field) == digest_file(outside / "blob")
    assert files.beside(field, "link.yaml") == outside / "link.yaml"


def test_the_home_folder_has_a_short_name(outside: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(outside))
    field, files = named("~/m.safetensors", tmp_path / "ws")
    assert files.digest_file(field) == digest_file(outside / "m.safetensors")


@pytest.mark.parametrize("whole", [True, False], ids=["repository", "snapshot"])
def test_a_repository_of_hugging_face_opens(tmp_path: Path, whole: bool) -> None:
    (tmp_path / "ws").mkdir()
    plain, root = tmp_path / "plain", tmp_path / "hub" / "models--someone--emoji"
    for name, text in (files := {"model_index.json": "{}", "unet/config.json": "{1}"}).items():
        (plain / name).parent.mkdir(parents=True, exist_ok=True)
        (plain / name).write_text(text)
    snapshot = as_repository(root, files)
    as_repository(root, {"model_index.json": "an older one"}, "4567")
    field, opened = named(root if whole else snapshot, tmp_path / "ws")
    assert opened.resolve(field) == snapshot
    assert opened.digest_folder(field) == named(plain, tmp_path / "ws")[1].digest_folder(str(plain))
    (root / "refs" / "main").unlink()
    if whole:
        with pytest.raises(PathRefused, match="holds 2 snapshots"):
            opened.resolve(field)


def test_a_link_inside_the_workspace_is_trusted_only_when_it_was_named(outside: Path, tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    (workspace / "m").symlink_to(outside)
    field, files = named(workspace / "m" / "m.safetensors", workspace)
    assert files.digest_file(field) == digest_file(outside / "m.safetensors")
    strict = OutsideReader(Workspace(workspace), digest_file)
    for path in ("m/m.safetensors", "m", str(outside), "../secret"):
        with pytest.raises(PathRefused):
            strict.resolve(path)
    (workspace / "n.safetensors").write_text("weights")
    (workspace / "n.yaml").symlink_to(tmp_path / "secret")
    with pytest.raises(PathRefused):
        strict.beside("n.safetensors", "n.yaml")
