"""How the workers of a test run share the tests."""

from tests.conftest import TOGETHER, share_of
from tests.shell import ROOT


def test_browsers_stay_with_one_worker_and_other_tests_go_to_whoever_is_free() -> None:
    pages = ("tests/browser/test_page.py::test_a", "tests/browser/test_wiring.py::test_b[1]")
    others = ("tests/test_c.py::test_c[tests/browser/]", "tests/test_c.py::test_d")
    assert {share_of(name) for name in pages} == {"tests/browser/"}
    assert [share_of(name) for name in others] == list(others)
    assert all((ROOT / start).exists() for start in TOGETHER)
