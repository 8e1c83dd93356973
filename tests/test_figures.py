"""Figures of benchmarks are kept and compared."""

import json
from pathlib import Path

from tests.bench.figures import compared, record


def test_a_figure_is_kept_with_what_it_depends_on_and_compared_with_the_one_before(tmp_path: Path) -> None:
    file = tmp_path / "outputs" / "bench.jsonl"
    for name, value in (("step", 2.0), ("memory", 5.0), ("step", 3.0), ("nothing", 0.0), ("nothing", 1.0)):
        record(name, value, "ms", file)
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines[0].keys() == {"date", "name", "value", "unit", "commit", "machine", "threads", "versions"}
    assert "torch" in lines[0]["versions"]
    threads = lines[0]["threads"] or "all"
    commit = lines[0]["commit"]
    assert compared(lines) == [
        f"step, {threads} threads: 3 ms ({commit}), 1.500 of 2 ({commit})",
        f"memory, {threads} threads: 5 ms ({commit}), for the first time",
        f"nothing, {threads} threads: 1 ms ({commit}), after 0 ({commit})",
    ]
