"""Every kind of adapter that a handle may hold can be applied, and says what others ask of it."""

from typing import get_args

import pytest

from nodes.diffusion.adapters.apply import KINDS
from nodes.diffusion.handles.adapters import Adapter

KIND_CLASSES = get_args(get_args(Adapter)[0])


def test_the_table_has_a_row_for_each_kind() -> None:
    assert len(KIND_CLASSES) >= 5
    assert {cls.__dataclass_fields__["kind"].default for cls in KIND_CLASSES} == set(KINDS)


@pytest.mark.parametrize("cls", KIND_CLASSES, ids=lambda cls: cls.__name__)
def test_a_kind_says_what_is_asked_of_it(cls: type) -> None:
    asked = {"label", "trained", "left_out", "number_bytes", "start", "weights", "text_identity"}
    assert asked <= {*dir(cls), *cls.__dataclass_fields__}
