"""The runner that tests of single nodes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes.node_runner import NodeRunner


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[NodeRunner]:
    made = NodeRunner(tmp_path)
    yield made
    made.cache.close()
