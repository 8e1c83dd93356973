"""What the page's sources are held to beyond the linter's own rules."""

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.shell import ROOT

BIOME = ROOT / "web" / "node_modules" / ".bin" / "biome"
PLUGINS = [str(ROOT / "web" / plugin) for plugin in json.loads((ROOT / "web" / "biome.json").read_text())["plugins"]]


def refused(folder: Path, *lines: str) -> int:
    """Count the effects and refs of a component that are refused."""
    (folder / "biome.json").write_text(json.dumps({"plugins": PLUGINS}))
    (folder / "part.tsx").write_text("\n".join(["export function Part() {", *lines, "}"]))
    said = subprocess.run([str(BIOME), "lint", "part.tsx"], cwd=folder, capture_output=True, text=True, check=False)
    return (said.stdout + said.stderr).count("Put braces around this body")


@pytest.mark.skipif(not BIOME.exists(), reason="the page's packages are not installed")
def test_an_effect_or_a_ref_that_returns_whatever_its_expression_is_is_refused(tmp_path: Path) -> None:
    effects = ("useEffect(() => list.scrollIntoView(), []);", "useLayoutEffect(() => void go());")
    assert refused(tmp_path, *effects, "return <p ref={(element) => element?.focus()} />;") == 3
    assert refused(tmp_path, "useEffect(() => {", "  list.scrollIntoView();", "}, []);", "useEffect(start);") == 0


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a checkout")
def test_no_two_files_differ_by_case_only() -> None:
    """On systems whose file names know no case, one of the two would be lost."""
    said = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = Counter(part.lower() for part in said.split("\0"))
    assert [name for name, count in names.items() if count > 1] == []
