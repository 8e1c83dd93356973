"""The micro steps of a training on CPU cores, each in a process of its own, with one thread each."""

import mmap
import multiprocessing
import os
import signal
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing, contextmanager

import torch
from torch import Tensor, nn

from nodes.diffusion.errors import InputError

MicroStep = Callable[[int, int], float]
"""Function of (step, micro step) that adds gradients to those of the parameters and returns the loss."""


def processes_wanted() -> int:
    """Return the number of processes that may share a training: LATENTLOOM_PROCESSES, 1 without it."""
    text = os.environ.get("LATENTLOOM_PROCESSES") or "1"
    if not text.isdecimal() or text == "0":
        remedy = "Set it to a number of processor cores, or leave it out."
        raise InputError(f"LATENTLOOM_PROCESSES is {text!r}.", remedy=remedy)
    return int(text)


class MicrobatchWorker:
    """A forked process that computes one micro step of every step, on the weights of this process.

    Threads do not survive a fork, so this needs a process that computes with one thread (OMP_NUM_THREADS=1).
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], micro_step: MicroStep, number: int) -> None:
        self._parameters = parameters
        self._weights, self._gradients = _shared(parameters), _shared(parameters)
        self._micro_step, self._number = micro_step, number
        forking = multiprocessing.get_context("fork")
        self._here, self._there = forking.Pipe()
        self._process = forking.Process(target=self._serve, daemon=True)
        self._process.start()
        self._there.close()

    def begin(self, step: int) -> None:
        """Send it the weights and start a step."""
        with torch.no_grad():
            for parameter, shared in zip(self._parameters.values(), self._weights, strict=True):
                shared.copy_(parameter)
        with _named_when_it_ends():
            self._here.send(step)

    def finish(self) -> float:
        """Wait for it, add its gradients to those of this process, and return its loss."""
        with _named_when_it_ends():
            found = self._here.recv()
        if isinstance(found, BaseException):
            raise found
        value, reached = found
        for parameter, gradient, is_reached in zip(self._parameters.values(), self._gradients, reached, strict=True):
            if is_reached:
                parameter.grad = gradient.clone() if parameter.grad is None else parameter.grad.add_(gradient)
        return value

    def close(self) -> None:
        self._here.close()
        self._process.terminate()
        self._process.join()

    def _serve(self) -> None:
        """Compute steps in the forked process until the parent has ended."""
        self._here.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        while True:
            try:
                step = self._there.recv()
            except EOFError:
                return
            try:
                self._there.send(self._computed(step))
            except Exception as error:
                self._there.send(error)

    def _computed(self, step: int) -> tuple[float, list[bool]]:
        """Return the loss, and which parameters have a gradient; the others' gradients are None, not those of an earlier step."""
        with torch.no_grad():
            for parameter, shared in zip(self._parameters.values(), self._weights, strict=True):
                parameter.copy_(shared)
                parameter.grad = None
        value = self._micro_step(step, self._number)
        for parameter, shared in zip(self._parameters.values(), self._gradients, strict=True):
            if parameter.grad is not None:
                shared.copy_(parameter.grad)
        return value, [parameter.grad is not None for parameter in self._parameters.values()]


@contextmanager
def _named_when_it_ends() -> Generator[None]:
    try:
        yield
    except (EOFError, OSError):
        remedy = "Run it again: it goes on from its checkpoint. Unset LATENTLOOM_PROCESSES if memory is short."
        raise InputError("a process that computed a part of this training ended.", remedy=remedy) from None


@contextmanager
def microbatch_workers(
    parameters: Mapping[str, nn.Parameter], micro_step: MicroStep, count: int
) -> Generator[list[MicrobatchWorker]]:
    """Fork `count` processes, for the micro steps from number 1 on."""
    with ExitStack() as stack:
        yield [stack.enter_context(closing(MicrobatchWorker(parameters, micro_step, 1 + number))) for number in range(count)]


def _shared(parameters: Mapping[str, nn.Parameter]) -> list[Tensor]:
    """Return zeros of the parameters' shapes in shared memory."""
    sizes = [parameter.numel() for parameter in parameters.values()]
    flat = torch.frombuffer(mmap.mmap(-1, 4 * sum(sizes)), dtype=torch.float32)
    return [part.view_as(parameter) for part, parameter in zip(flat.split(sizes), parameters.values(), strict=True)]
