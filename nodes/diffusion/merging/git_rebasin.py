"""Git re-basin of one recipe towards another: the orders of all hidden units, in a file for a `Permuted` recipe."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from nodes.diffusion.formats.safetensors_writer import write_one_by_one
from nodes.diffusion.merging.allocation import giving_back_freed_memory
from nodes.diffusion.merging.permutation_spec import Units
from nodes.diffusion.merging.permutations import orders_by_tensor
from nodes.diffusion.merging.plan import MergePlan
from nodes.diffusion.merging.read_tensors import reading
from nodes.diffusion.merging.weight_matching import Best, Model, best_orders
from nodes.diffusion.optimization.training_state import TrainingState

SAVED_EVERY = 10.0
"""Seconds between two savings of the progress."""


@dataclass
class Rebasin:
    """The orders of hidden units, found while they are written."""

    ours: MergePlan
    theirs: MergePlan
    units: Mapping[str, Units]
    """The units by module, the same in both."""
    progress_folder: Path | None
    """The folder in which the progress is saved; None to save none."""
    _found: dict[str, Best] = field(default_factory=dict[str, Best])

    @property
    def reordered(self) -> int:
        """Return the number of permuted modules."""
        return sum(best.orders is not None for best in self._found.values())

    @property
    def distances(self) -> tuple[float, float]:
        """Return the distance of all parameters of units from the reference's, before and after."""
        found = self._found.values()
        return sum(best.before for best in found) ** 0.5, sum(best.after for best in found) ** 0.5

    def write(self, path: Path, progress: Callable[[int, int], None]) -> None:
        """Find and write the orders; large tensors are in files beside `path` meanwhile."""
        write_one_by_one(path, self._orders(path.parent, progress))

    def _orders(self, folder: Path, progress: Callable[[int, int], None]) -> Iterator[tuple[str, Tensor]]:
        saved = TrainingState(self.progress_folder) if self.progress_folder else None
        self._found = {name: Best(*values) for name, values in ((saved and saved.load()) or {}).items()}
        last = time.monotonic()
        with giving_back_freed_memory(), reading() as reader:
            ours, theirs = Model(self.ours, reader, folder, "model"), Model(self.theirs, reader, folder, "reference")
            for done, (module, units) in enumerate(self.units.items()):
                progress(done, len(self.units))
                if module not in self._found:
                    self._found[module] = best_orders(units, ours, theirs)
                orders = self._found[module].orders
                if orders:
                    pairs = zip(units.axis_groups, orders, strict=True)
                    found = ((use, order) for uses, order in pairs for use in uses)
                    yield from orders_by_tensor(found, ours.parts, self.ours.tensors).items()
                if saved and time.monotonic() - last >= SAVED_EVERY:
                    saved.save({name: (best.orders, best.before, best.after) for name, best in self._found.items()})
                    last = time.monotonic()
