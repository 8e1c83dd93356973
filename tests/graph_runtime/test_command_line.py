"""The command line as a person and a script meet it: exit status, messages, one JSON event per line."""

import json
import os
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pytest

from graph_runtime import __main__ as cli, provenance, reports
from graph_runtime.arguments import parse_arguments
from graph_runtime.provenance import safetensors_header
from graph_runtime.reading import NotRegular
from tests.graph_runtime.conftest import document
from tests.graph_runtime.toys import PALETTE

SLOW = """
import sys, time
from graph_runtime import __main__ as cli
from tests.graph_runtime import toys
def run(self, context):
    for step in range(1, 10_000):
        time.sleep(0.01)
        context.metric(step, loss=1.0)
        context.progress(step, 10_000)
toys.Count.run = run
toys.describe.cache_clear()
cli.load_palette = lambda: toys.PALETTE
sys.exit(cli.main(sys.argv[1:]))
"""


class Shell:
    """A workspace with a workflow, in which commands run."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder = folder
        self._capsys = capsys

    def write(self, content: object, name: str = "w.json") -> str:
        path = self.folder / name
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return str(path)

    def __call__(self, *arguments: str) -> tuple[int, str, str]:
        extra = ["--cache", str(self.folder / "cache")] if arguments[0] not in ("nodes", "inspect") else []
        place = ["--workspace", str(self.folder)] if arguments[0] in ("run", "plan", "validate") else []
        status = cli.main([*arguments, *extra, *place])
        captured = self._capsys.readouterr()
        assert "Traceback" not in captured.out + captured.err
        return status, captured.out, captured.err

    def events(self, *arguments: str) -> tuple[int, list[dict[str, Any]]]:
        status, out, err = self(*arguments, "--json")
        assert err == ""
        return status, [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def shell(tmp_path: Path, capsys, monkeypatch) -> Shell:
    monkeypatch.setattr(cli, "load_palette", lambda: PALETTE)
    monkeypatch.setattr(reports, "load_palette", lambda: PALETTE)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path, capsys)


SAVING = document({"text": ("Text", {"text": "hi"}), "save": ("WriteText", {})}, [("text.output", "save.text")])


def test_run_then_run_again(shell: Shell) -> None:
    file = shell.write(SAVING)
    status, events = shell.events("run", file)
    assert status == 0
    assert events[-1]["status"] == "succeeded"
    assert {id: node["state"] for id, node in events[-1]["nodes"].items()} == {"text": "executed", "save": "executed"}
    (artifact,) = events[-1]["artifacts"]
    assert (shell.folder / "outputs" / "text.txt").read_text() == "hi"
    assert artifact == {
        "path": str(shell.folder / "outputs/text.txt"),
        "sha256": "8f434346648f6b96df89dda901c5176b10a6d83961dd3c1ac88b59b2dc327aa4",
        "bytes": 2,
        "node": "save",
        "caption": "",
        "group": "",
    }
    _, events = shell.events("run", file)
    assert {node["state"] for node in events[-1]["nodes"].values()} == {"cached"}


def test_plan_says_what_would_run(shell: Shell) -> None:
    file = shell.write(SAVING)
    assert {n["state"] for n in json.loads(shell("plan", file, "--json")[1])["nodes"].values()} == {"run"}
    shell("run", file)
    changed = json.loads(shell("plan", file, "--set", "save.filename=b.txt", "--json")[1])
    assert {id: n["state"] for id, n in changed["nodes"].items()} == {"text": "cached", "save": "run"}


@pytest.mark.parametrize("device", ["cuda:", "cuda:x", "cuda:²", "cpu:1", "gpu"])
def test_a_device_that_is_none_is_a_wrong_call(device: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["run", "w.json", "--device", device])
    assert "choose auto, cpu, cuda, cuda:N or mps" in capsys.readouterr().err


def test_several_targets_run_what_any_of_them_needs(shell: Shell) -> None:
    nodes = {"a": ("Number", {}), "b": ("Number", {"value": 1}), "c": ("Number", {"value": 2}), "save": ("WriteText", {})}
    file = shell.write(document({**nodes, "text": ("Text", {})}, [("text.output", "save.text")]))
    _, out, _ = shell("plan", file, "--target", "a", "--target", "c", "--json")
    assert {id for id, node in json.loads(out)["nodes"].items() if node["state"] == "run"} == {"a", "c"}


def test_no_cache_computes_anew_and_keeps_nothing(shell: Shell) -> None:
    file = shell.write(SAVING)
    shell("run", file)
    before = json.loads(shell("cache", "info", "--json")[1])
    _, events = shell.events("run", file, "--no-cache")
    assert {node["state"] for node in events[-1]["nodes"].values()} == {"executed"}
    assert json.loads(shell("cache", "info", "--json")[1]) == before


def test_a_failed_node_is_status_1_with_place_and_remedy(shell: Shell) -> None:
    file = shell.write(document({"n": ("Number", {}), "bad": ("Fail", {})}, [("n.output", "bad.number")]))
    status, out, _ = shell("run", file)
    assert status == 1
    assert "bad.number: this number is not liked. Choose another." in out
    status, events = shell.events("run", file)
    assert (status, events[-1]["status"]) == (1, "failed")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--set", "n.value=x"], "n.value"),
        (["--set", "n.valeu=3"], "Did you mean value?"),
        (["--set", "m.value=3"], "'m'"),
        (["--set", "f.by=3"], "Fail has no field 'by'. It has no fields.\n"),
        (["--set", "nonsense"], "NODE.FIELD=VALUE"),
        (["--target", "ghost"], "ghost: this target is not in the workflow. Its nodes are: n, d, f.\n"),
        (["--target", "F"], "F: this target is not in the workflow. Did you mean f?\n"),
        (["--set", "d.by=0"], "d.by"),
    ],
)
def test_a_wrong_call_is_status_2(shell: Shell, arguments: list[str], expected: str) -> None:
    nodes = {"n": ("Number", {}), "d": ("Divide", {"by": 2}), "f": ("Fail", {})}
    file = shell.write(document(nodes, [("n.output", "d.number"), ("n.output", "f.number")]))
    status, _, err = shell("run", file, *arguments)
    assert status == 2
    assert expected in err
    status, out, _ = shell("run", file, *arguments, "--json")
    assert status == 2
    assert json.loads(out)["problems"][0]["message"]


def test_what_a_workflow_without_nodes_lacks_is_told(shell: Shell) -> None:
    status, _, err = shell("validate", shell.write(document({})), "--set", "n.value=3")
    assert (status, err) == (2, "--set names node 'n', which the workflow does not have. It has no nodes.\n")


def test_set_reads_numbers_choices_and_texts(shell: Shell) -> None:
    file = shell.write(SAVING)
    shell("run", file, "--set", "text.text=1.50", "--set", "text.style=loud")
    assert (shell.folder / "outputs" / "text.txt").read_text() == "1.50"


def test_a_path_that_a_person_types_may_lie_anywhere(shell: Shell, tmp_path_factory) -> None:
    outside = tmp_path_factory.mktemp("outside") / "note.txt"
    outside.write_text("from outside")
    graph = document({"f": ("ReadFile", {"path": "x"}), "s": ("WriteText", {})}, [("f.output", "s.text")])
    file = shell.write(graph)
    assert shell("run", file, "--set", f"f.path={outside}")[0] == 0
    assert (shell.folder / "outputs" / "text.txt").read_text() == "from outside"
    graph["nodes"]["f"]["fields"]["path"] = str(outside)
    assert shell("run", shell.write(graph))[0] == 2


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": "latentloom/7"}'])
def test_a_broken_file_is_status_2(shell: Shell, content: str) -> None:
    assert shell("validate", shell.write(content))[0] == 2
    assert shell("run", str(shell.folder / "absent.json"))[0] == 2


def test_an_output_folder_that_cannot_be_written(shell: Shell) -> None:
    (shell.folder / "taken").write_text("a file")
    status, _, err = shell("run", shell.write(SAVING), "--output", str(shell.folder / "taken"))
    assert status == 2
    assert f"The output folder {shell.folder / 'taken'} cannot be written" in err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_clear_message(shell: Shell, monkeypatch) -> None:
    def write_to_full_disk(self: Any, text: str, context: Any) -> Any:
        with open("/dev/full", "w") as file:
            file.write(text)

    monkeypatch.setattr(PALETTE.types["WriteText"].cls, "run", write_to_full_disk)
    status, out, _ = shell("run", shell.write(SAVING))
    assert status == 1
    assert "the disk is full" in out
    assert [path.name for path in (shell.folder / "outputs").iterdir()] == ["runs"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_run_and_the_json_ends_properly(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "w.json").write_text(json.dumps(document({"c": ("Count", {}), "t": ("Total", {})}, [("c.output", "t.numbers")])))
    command = [sys.executable, "-c", SLOW, "run", str(tmp_path / "w.json"), "--json", "--cache", str(tmp_path / "c")]
    process = subprocess.Popen([*command, "--workspace", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while '"node_metric"' not in process.stdout.readline():
        time.sleep(0.01)
    process.send_signal(number)
    rest = process.stdout.read().splitlines()
    process.stdout.close()
    assert process.wait() == 130
    last = json.loads(rest[-1])
    assert (last["type"], last["status"]) == ("run_finished", "interrupted")
    assert len(rest) < 50


def test_nodes_lists_and_describes(shell: Shell) -> None:
    assert "The sum of two numbers." in shell("nodes")[1]
    assert "offset = 0" in shell("nodes", "Add")[1]
    assert {node["name"] for node in json.loads(shell("nodes", "--json")[1])} == set(PALETTE.types)


@pytest.mark.parametrize(("typed", "meant"), [("Ad", "Add"), ("readfile", "ReadFile"), ("WRITETEXT", "WriteText")])
def test_a_node_whose_name_is_misspelled_is_suggested(shell: Shell, typed: str, meant: str) -> None:
    assert shell("nodes", typed) == (2, "", f"There is no node '{typed}'. Did you mean {meant}?\n")


@pytest.mark.parametrize("content", [b"", b"\0" * 8, b"\xff" * 100, b"PK\x03\x04 a zip", (99).to_bytes(8, "little") + b"{}"])
def test_inspect_refuses_what_is_not_an_artifact(shell: Shell, content: bytes) -> None:
    path = shell.folder / "x.safetensors"
    path.write_bytes(content)
    status, _, err = shell("inspect", str(path))
    assert status == 2
    assert "x.safetensors" in err
    with pytest.raises(ValueError, match="safetensors"):
        safetensors_header(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
@pytest.mark.parametrize("name", ["x.safetensors", "x.png", "x.pt"])
def test_inspect_does_not_wait_for_a_pipe(shell: Shell, name: str) -> None:
    os.mkfifo(path := shell.folder / name)
    status, _, err = shell("inspect", str(path))
    assert (status, "cannot be read: Not a regular file" in err) == (2, True)
    with pytest.raises(NotRegular):
        safetensors_header(path)


HEADERS = {
    "metadata is a number": b'{"__metadata__":3}',
    "deep": b'{"a":' * 5000 + b"1" + b"}" * 5000,
    "provenance is a list": b'{"__metadata__":{"latentloom":"[]"}}',
    "provenance is cut": b'{"__metadata__":{"latentloom":"{"}}',
}


@pytest.mark.parametrize("kind", HEADERS)
def test_inspect_survives_hostile_headers(shell: Shell, kind: str) -> None:
    path = shell.folder / "x.safetensors"
    path.write_bytes(len(HEADERS[kind]).to_bytes(8, "little") + HEADERS[kind])
    assert shell("inspect", str(path), "--workflow")[0] == 2


def test_inspect_shows_what_a_workflow_is_made_of(shell: Shell) -> None:
    nodes = {"f": ("ReadFile", {"path": "a.txt"}), "g": ("ReadFile", {}), "n": ("Number", {}), "x": ("Unheard", {})}
    file = shell.write(document(nodes, name="hens", description="Counts hens."))
    status, out, _ = shell("inspect", file)
    assert (status, [line.split() for line in out.splitlines()]) == (
        0,
        [
            ["hens"],
            ["Counts", "hens."],
            [],
            ["4", "nodes"],
            ["f", "ReadFile", "path:", "a.txt"],
            ["g", "ReadFile", "path:", "nothing", "chosen"],
            ["n", "Number"],
            ["x", "Unheard", "(not", "installed)"],
        ],
    )
    assert json.loads(shell("inspect", file, "--json")[1])["nodes"]["f"]["reads"] == {"path": "a.txt"}
    assert json.loads(shell("inspect", file, "--workflow")[1])["nodes"].keys() == nodes.keys()
    assert "is not a Latent Loom workflow" in shell("inspect", shell.write([], "list.json"))[2]


def test_inspect_refuses_other_files_and_damaged_pictures(shell: Shell) -> None:
    assert shell("inspect", shell.write("words", "notes.md"))[0] == 2
    chunk = b"latentloom\0\0not compressed"
    png = b"\x89PNG\r\n\x1a\n" + len(chunk).to_bytes(4, "big") + b"zTXt" + chunk + b"\0\0\0\0"
    (shell.folder / "x.png").write_bytes(png)
    status, _, err = shell("inspect", str(shell.folder / "x.png"))
    assert (status, "damaged" in err) == (2, True)


def png(kind: bytes, content: bytes) -> bytes:
    """A PNG that holds one chunk of text."""
    return b"\x89PNG\r\n\x1a\n" + len(content).to_bytes(4, "big") + kind + content + b"\0\0\0\0"


CARRIED = b'{"workflow": {"format": "latentloom/1", "name": "%s"}}'


@pytest.mark.parametrize(
    ("kind", "start", "other"),
    [(b"zTXt", b"latentloom\0\0", b"another\0\0"), (b"iTXt", b"latentloom\0\1\0\0\0", b"another\0\1\0\0\0")],
)
def test_a_text_is_decompressed_up_to_a_limit(shell: Shell, monkeypatch: Any, kind: bytes, start: bytes, other: bytes) -> None:
    monkeypatch.setattr(provenance, "MAX_HEADER", 2000)
    path, bomb = shell.folder / "x.png", zlib.compress(b"0" * 1_000_000)
    path.write_bytes(png(kind, start + zlib.compress(CARRIED % b"w")))
    assert json.loads(shell("inspect", str(path), "--workflow")[1])["name"] == "w"
    path.write_bytes(png(kind, other + bomb) + png(kind, start + zlib.compress(CARRIED % b"w"))[8:])
    assert json.loads(shell("inspect", str(path), "--workflow")[1])["name"] == "w"
    path.write_bytes(png(kind, start + bomb))
    status, _, err = shell("inspect", str(path))
    assert (status, "damaged" in err) == (2, True)


def test_what_is_no_text_is_shown_as_json_writes_it(shell: Shell) -> None:
    path = shell.folder / "x.png"
    path.write_bytes(png(b"tEXt", b"latentloom\0" + CARRIED % rb"\ud800"))
    status, out, _ = shell("inspect", str(path), "--workflow")
    assert (status, json.loads(out)["name"]) == (0, "\ud800")


def test_a_header_longer_than_any_model_has_is_not_parsed(shell: Shell, monkeypatch: Any) -> None:
    monkeypatch.setattr(provenance, "MAX_HEADER", 2000)
    header = b'{"a":[' + b"[]," * 1000 + b"[]]}"
    path = shell.folder / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    assert shell("inspect", str(path))[0] == 2


def test_of_a_pickle_only_so_many_opcodes_are_read(shell: Shell, monkeypatch: Any) -> None:
    monkeypatch.setattr(provenance, "MAX_OPCODES", 1000)
    with zipfile.ZipFile(path := shell.folder / "x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"V\n" * 2000 + b"Voptional_info\nV" + CARRIED % b"w" + b"\n.")
    assert shell("inspect", str(path))[0] == 2
    monkeypatch.setattr(provenance, "MAX_OPCODES", 3000)
    assert shell("inspect", str(path))[0] == 0


def test_a_typed_path_with_nothing_at_it_says_so(shell: Shell) -> None:
    file = shell.write(document({"f": ("ReadFile", {"path": "x"})}))
    status, _, err = shell("run", file, "--set", "f.path=../nowhere/x.txt")
    assert (status, "there is nothing at" in err) == (2, True)


def test_cache_prune_and_clear(shell: Shell) -> None:
    shell("run", shell.write(SAVING))
    time.sleep(0.02)
    assert json.loads(shell("cache", "info", "--json")[1])["entries"] == 2
    shell("cache", "prune")
    assert json.loads(shell("cache", "info", "--json")[1])["entries"] == 2
    shell("cache", "clear")
    assert json.loads(shell("cache", "info", "--json")[1])["entries"] == 0


def test_the_cache_folder_can_come_from_the_environment(shell: Shell, monkeypatch) -> None:
    monkeypatch.setenv("LATENTLOOM_CACHE", str(shell.folder / "elsewhere"))
    assert cli.main(["cache", "info"]) == 0
    assert (shell.folder / "elsewhere" / "index.sqlite").exists()


@pytest.mark.parametrize("text", ["inf", "nan", "-5", "1e300", "much"])
def test_a_cache_size_that_is_none_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("LATENTLOOM_CACHE_GB", text)
    status, _, said = shell("cache", "info")
    assert (status, said.split(":")[0]) == (2, f"LATENTLOOM_CACHE_GB is '{text}'")


def test_the_cache_is_measured_in_one_unit(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shell("cache", "info")[1].endswith(": 0 entries, 0.00 of at most 21.47 GB\n")
    monkeypatch.setenv("LATENTLOOM_CACHE_GB", "5")
    assert (
        json.loads(shell("cache", "info", "--json")[1])["max_bytes"]
        == parse_arguments(["cache", "prune", "--max-gb", "5"]).max_gb
    )
    assert shell("cache", "info")[1].endswith(" of at most 5.00 GB\n")


@pytest.mark.parametrize("port", ["-1", "65536", "9" * 5000, "x", ""])
def test_a_port_that_is_none_is_a_wrong_call(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse_arguments(["serve", "--port", port])
    assert "a whole number from 0 to 65535 is needed" in capsys.readouterr().err


def test_python_m_graph_runtime_is_the_same_program() -> None:
    done = subprocess.run([sys.executable, "-m", "graph_runtime", "--help"], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0
    assert "execute a workflow" in done.stdout


def test_a_script_reads_only_the_steps_that_this_run_makes(shell: Shell) -> None:
    file = shell.write(document({"c": ("Count", {"steps": 3}), "t": ("Total", {})}, [("c.output", "t.numbers")]))
    steps = [[e["step"] for e in shell.events("run", file)[1] if e["type"] == "node_metric"] for _ in range(2)]
    assert steps == [[1, 2, 3], []]


def test_an_empty_path_is_no_path(shell: Shell) -> None:
    file = shell.write(document({"f": ("ReadFile", {"path": "x"})}))
    status, _, err = shell("run", file, "--set", "f.path=")
    assert (status, err) == (2, "f.path: nothing is chosen. Choose a file.\n")
