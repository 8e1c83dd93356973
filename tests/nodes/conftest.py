"""The desk that tests of single nodes share."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.nodes.desk import Desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    yield made
    made.cache.close()
