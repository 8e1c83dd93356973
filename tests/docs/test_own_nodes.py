"""The package of nodes that a guide makes is found, and its node runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.docs.pages import blocks
from tests.shell import ROOT

GUIDE = ROOT / "docs" / "guides" / "own-nodes.md"


def test_the_node_of_the_guide_runs(tmp_path: Path) -> None:
    [project], [source], [workflow] = (blocks(GUIDE, language) for language in ("toml", "python", "json"))
    package = tmp_path / "site" / "brighten" / "pictures"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package.parent / "__init__.py").touch()
    (package / "brighten_images.py").write_text(source)
    info = tmp_path / "site" / "brighten-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brighten\nVersion: 0.1.0\n")
    entry_points = project.partition("[project.entry-points.")[2].partition("[tool")[0]
    (info / "entry_points.txt").write_text("[" + entry_points.replace('"', ""))
    document = json.loads(workflow)
    document["nodes"]["sample"]["fields"] |= {"num_inference_steps": 1, "width": 64, "height": 64}
    (tmp_path / "bright.json").write_text(json.dumps(document))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])}
    command = [sys.executable, "-m", "graph_runtime", "run", "bright.json", "--cache", "cache", "--json"]
    for state in ("executed", "cached"):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["nodes"]["brighten"]["state"] == state
    assert (tmp_path / "outputs" / "bright.png").is_file()
