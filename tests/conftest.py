"""How the workers of a test run share the tests."""

from typing import Any

import pytest

TOGETHER = {
    "tests/browser/": "two browsers with their trainings would slow each other down",
    "tests/web/test_wheel.py": "its tests share one wheel",
}
"""What one worker runs, and why; all else goes test by test to whoever is free."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Share out by names: xdist 3.8 writes its own marks into names that pytest 9.2 reads elsewhere."""
    from xdist.scheduler import LoadScopeScheduling

    class Sharing(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return share_of(nodeid)

    return Sharing(config, log)


def share_of(nodeid: str) -> str:
    """Return the name of the share that a test belongs to: what is in one share runs in one worker."""
    return next((start for start in TOGETHER if nodeid.startswith(start)), nodeid)
