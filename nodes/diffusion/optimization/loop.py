"""The one training loop: optimizer, schedule, accumulation, clipping, precision, averaging, checkpoints."""

import math
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from nodes.diffusion.devices import DTYPES, Precision
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.settings import TrainingSettings
from nodes.diffusion.optimization.divergence import Divergence
from nodes.diffusion.optimization.ema import WeightAverage
from nodes.diffusion.optimization.forked_microbatches import MicrobatchWorker, microbatch_workers, processes_wanted
from nodes.diffusion.optimization.optimizers import make_lr_scheduler, make_optimizer, restore_lr_scheduler
from nodes.diffusion.optimization.training_state import TrainingState

SMALLER = "Lower learning_rate, or set precision to fp32."
Loss = Callable[[int, int], Tensor]
"""Function of (step, micro step), both from 0, that returns the mean loss of the micro batch."""


@dataclass(frozen=True)
class StepDone:
    """A finished step; `step` counts from 1."""

    step: int
    loss: float
    learning_rate: float
    trainer: "Trainer"
    warning: str = ""
    """A warning about the training, in one sentence and its remedy; empty without one."""


class Trainer:
    """Parameters with their optimizer, schedule and average."""

    def __init__(
        self, parameters: Mapping[str, torch.nn.Parameter], settings: TrainingSettings, device: torch.device, precision: Precision
    ) -> None:
        self.parameters = parameters
        self.settings = settings
        self.device = device
        self.precision: Precision = precision
        self.optimizer = make_optimizer(parameters.values(), settings)
        self.lr_scheduler = make_lr_scheduler(self.optimizer, settings)
        self.average = WeightAverage(parameters, settings.ema_decay) if settings.ema_decay else None
        self.divergence = Divergence(parameters)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")  # pyright: ignore[reportPrivateImportUsage]
        self._schedule_free("train")

    def micro_step(self, loss: Loss, step: int, micro_step: int) -> float:
        """Add the gradients of one micro step; return its share of the mean loss."""
        with self.autocast():
            part = loss(step, micro_step) / self.settings.gradient_accumulation_steps
        self.scaler.scale(part).backward()
        return float(part.detach())

    def step(self, step: int, loss: Loss, workers: Sequence[MicrobatchWorker] = ()) -> float:
        """Make one optimizer step; return its mean loss. Workers compute the last micro steps."""
        for worker in workers:
            worker.begin(step)
        total = 0.0
        for micro_step in range(self.settings.gradient_accumulation_steps - len(workers)):
            total += self.micro_step(loss, step, micro_step)
        for worker in workers:
            total += worker.finish()
        if not math.isfinite(total):
            raise InputError(f"the loss became {total} at step {step + 1}.", field="learning_rate", remedy=SMALLER)
        self.scaler.unscale_(self.optimizer)
        norm = self._gradient_norm()
        if step == 0:
            self._check_gradients(norm)
        if not math.isfinite(norm) and self.precision != "fp16":
            raise InputError(f"the gradients became {norm} at step {step + 1}.", field="learning_rate", remedy=SMALLER)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.lr_scheduler.step()
        if self.average:
            self.average.update(self.parameters)
        return total

    def autocast(self) -> torch.autocast:
        """Return the autocast context of the forward pass."""
        return torch.autocast(self.device.type, DTYPES[self.precision], enabled=self.precision != "fp32")

    @contextmanager
    def weights_for_use(self) -> Generator[None]:
        """Use the averaged weights, as they would be saved now; afterwards restore the weights bit for bit."""
        kept = self._copies()
        self._schedule_free("eval")
        if self.average:
            self.average.swap(self.parameters)
        try:
            yield
        finally:
            if self.average:
                self.average.swap(self.parameters)
            self._schedule_free("train")
            with torch.no_grad():
                for name, tensor in kept.items():
                    self.parameters[name].copy_(tensor)

    def _copies(self) -> dict[str, Tensor]:
        """Return copies of the weights, since switching schedule-free optimizers to evaluation and back is not exact."""
        is_moved = self.settings.optimizer == "schedulefree"
        return {name: parameter.detach().clone() for name, parameter in self.parameters.items()} if is_moved else {}

    def finish(self) -> None:
        """Set the weights to those to be saved."""
        self._schedule_free("eval")
        if self.average:
            self.average.swap(self.parameters)

    def state_dict(self, step: int) -> dict[str, object]:
        """Return the complete state before the next step."""
        return {
            "step": step,
            "parameters": {name: parameter.detach() for name, parameter in self.parameters.items()},
            "optimizer": self.optimizer.state_dict(),
            "lr_scheduler": self.lr_scheduler.state_dict(),
            "scaler": self.scaler.state_dict(),
            "average": self.average.state_dict() if self.average else None,
            "divergence": self.divergence.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> int:
        """Restore a saved state; return its number of steps."""
        with torch.no_grad():
            for name, tensor in state["parameters"].items():
                self.parameters[name].copy_(tensor)
        self.optimizer.load_state_dict(state["optimizer"])
        restore_lr_scheduler(self.lr_scheduler, state["lr_scheduler"])
        self.scaler.load_state_dict(state["scaler"])
        if self.average:
            self.average.load_state_dict(state["average"])  # pyright: ignore[reportArgumentType]
        self.divergence.load_state_dict(state["divergence"])  # pyright: ignore[reportArgumentType]
        return int(state["step"])  # pyright: ignore[reportArgumentType]

    def _gradient_norm(self) -> float:
        """Return the norm of all gradients, shortened to the limit when there is one."""
        limit = self.settings.max_grad_norm or math.inf
        return float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), limit))

    def _check_gradients(self, norm: float) -> None:
        without = [name for name, parameter in self.parameters.items() if parameter.grad is None]
        if without or norm == 0:
            which = f"{len(without)} trained tensors, such as {without[0]}," if without else "the trained tensors"
            raise InputError(f"{which} received no gradient.", remedy="The model does not use what is to be trained.")

    def _schedule_free(self, mode: str) -> None:
        if self.settings.optimizer == "schedulefree":
            getattr(self.optimizer, mode)()


def minimize(
    parameters: Mapping[str, torch.nn.Parameter],
    loss: Loss,
    settings: TrainingSettings,
    *,
    device: torch.device,
    precision: Precision = "fp32",
    report: Callable[[StepDone], object] = lambda done: None,
    checkpoint: TrainingState | None = None,
) -> None:
    """Minimize `loss` by changing `parameters` in place; continue from `checkpoint` when there is one.

    `report` is called after every step and may raise to stop: the last whole step is then saved. Raises InputError when the
    loss stops being finite or nothing receives a gradient.
    """
    trainer = Trainer(parameters, settings, device, precision)
    found = checkpoint.load() if checkpoint else None
    first = trainer.load_state_dict(found) if found else 0
    with microbatch_workers(parameters, partial(trainer.micro_step, loss), _workers_wanted(settings, device)) as workers:
        for done in range(first + 1, settings.max_steps + 1):
            value = trainer.step(done - 1, loss, workers)
            warning = trainer.divergence.warning_after(done, value)
            if checkpoint and done % settings.checkpoint_every == 0:
                checkpoint.save(trainer.state_dict(done))
            try:
                report(StepDone(done, value, float(trainer.lr_scheduler.get_last_lr()[0]), trainer, warning))
            except BaseException:
                if checkpoint:
                    checkpoint.save(trainer.state_dict(done))
                raise
    if checkpoint:
        checkpoint.finish(lambda: trainer.state_dict(settings.max_steps))
    trainer.finish()


def _workers_wanted(settings: TrainingSettings, device: torch.device) -> int:
    """Return the number of workers, one for each micro step or none, so that sums of gradients have the same order and bytes."""
    micro_steps = settings.gradient_accumulation_steps
    shared = device.type == "cpu" and torch.get_num_threads() == 1 and micro_steps <= processes_wanted()
    return micro_steps - 1 if shared else 0
