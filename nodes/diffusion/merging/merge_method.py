"""The table of merge methods: a method is one decorated function, whose parameters name its arguments.

@merge_method("average")
def average(tensors: list[Tensor]) -> Tensor: ...

@merge_method("slerp", needs=inner_products)
def slerp(tensors: list[Tensor], strength: float, statistics: Products) -> Tensor: ...
"""

from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, TypeVar

from nodes.diffusion.handles.recipes import Merged

if TYPE_CHECKING:  # a package registers its methods at the top of its files, where torch may not be imported
    from torch import Tensor

    from nodes.diffusion.merging.tensor_statistics import Measure

ARGUMENTS = {
    "tensors": "slices of the inputs' tensors of one name, flat and float32; a method changes none of them",
    "weights": "one number for each input",
    "strength": "the first of `weights`, 1 where there are none, for methods whose equation has one number",
    "density": "the recipe's density",
    "seed": "the recipe's seed",
    "statistics": "what the function under `needs` returned for the whole tensors",
    "name": "the tensor's name",
    "start": "the entry of the whole tensor at which the slices begin",
}
"""The possible parameters of a method, and their arguments."""
Function = TypeVar("Function", bound="Callable[..., Tensor]")


@dataclass(frozen=True)
class MergeMethod:
    """One row of the table."""

    function: "Callable[..., Tensor]"
    takes: frozenset[str]
    """Its parameters, out of ARGUMENTS."""
    needs: "Measure | None"

    def merge(
        self, merge: Merged, tensors: "list[Tensor]", weights: tuple[float, ...], statistics: object, name: str, start: int
    ) -> "Tensor":
        """Return a slice of one tensor of the merge, flat and float32, which begins at entry `start`."""
        given = (tensors, weights, weights[0] if weights else 1.0, merge.density, merge.seed, statistics, name, start)
        return self.function(**{key: value for key, value in zip(ARGUMENTS, given, strict=True) if key in self.takes})


METHODS: dict[str, MergeMethod] = {}
"""The methods by name."""


def merge_method(name: str, *, needs: "Measure | None" = None) -> Callable[[Function], Function]:
    """Register a function as a merge method; raise TypeError for a parameter that is not in ARGUMENTS.

    `needs` measures the whole tensors before the first slice is merged.
    """

    def register(function: Function) -> Function:
        takes = frozenset(signature(function).parameters)
        if unknown := takes - ARGUMENTS.keys():
            raise TypeError(f"A merge method takes {', '.join(ARGUMENTS)}; {name!r} asks for {', '.join(sorted(unknown))}.")
        METHODS[name] = MergeMethod(function, takes, needs)
        return function

    return register
