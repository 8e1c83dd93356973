"""A device that the machine lacks is refused in one sentence before anything runs."""

from pathlib import Path

import pytest

import server
from graph_runtime.__main__ import main
from tests.shell import ROOT

LACKING = "device cuda:99 cannot be used: this machine has "


def test_a_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = ["--output", str(tmp_path / "out"), "--cache", str(tmp_path / "cache")]
    assert main(["run", str(ROOT / "workflows/lora.json"), "--device", "cuda:99", *folders]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(LACKING)
    assert list(tmp_path.iterdir()) == []


def test_a_server_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        server.main(["--device", "cuda:99", "--workspace", str(tmp_path), "--port", "0"])
    assert f"error: {LACKING}" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
