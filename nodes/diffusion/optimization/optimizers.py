"""Optimizers and learning-rate schedules from their libraries."""

import importlib
from collections.abc import Iterable
from typing import Any

import torch
from diffusers.optimization import get_scheduler
from torch.optim.lr_scheduler import LambdaLR
from transformers.optimization import Adafactor

from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.settings import TrainingSettings


def make_optimizer(parameters: Iterable[torch.nn.Parameter], settings: TrainingSettings) -> torch.optim.Optimizer:
    """Return the optimizer of the settings."""
    trained = list(parameters)
    lr, decay = settings.learning_rate, settings.weight_decay
    match settings.optimizer:
        case "adamw":
            fused = trained[0].device.type in ("cpu", "cuda")
            return torch.optim.AdamW(trained, lr=lr, weight_decay=decay, fused=fused)
        case "adafactor":
            # torch's own scales each step by the tensor's size, so a matrix that begins at zero hardly moves
            fixed = {"scale_parameter": False, "relative_step": False, "warmup_init": False}
            return Adafactor(trained, lr=lr, weight_decay=decay, **fixed)
        case "adamw8bit":
            return _from("bitsandbytes", "optim.AdamW8bit")(trained, lr=lr, weight_decay=decay)
        case "prodigy":
            return _from("prodigyopt", "Prodigy")(trained, lr=lr, weight_decay=decay, safeguard_warmup=True)
        case "schedulefree":
            warmup = settings.lr_warmup_steps
            return _from("schedulefree", "AdamWScheduleFree")(trained, lr=lr, weight_decay=decay, warmup_steps=warmup)


def make_lr_scheduler(optimizer: torch.optim.Optimizer, settings: TrainingSettings) -> LambdaLR:
    """Return the schedule; schedule-free optimizers keep their rate and do their own warm-up."""
    if settings.optimizer == "schedulefree":
        return get_scheduler("constant", optimizer)
    whole = _schedule(optimizer, settings, settings.max_steps)
    if not settings.continue_from:
        return whole
    if settings.continue_from >= settings.max_steps:
        message = f"continue_from is {settings.continue_from}, and the training ends at step {settings.max_steps}."
        raise InputError(message, field="continue_from", remedy="Raise max_steps above it, or set continue_from to 0.")
    earlier = _schedule(optimizer, settings, settings.continue_from).lr_lambdas[0]
    later = whole.lr_lambdas[0]
    return LambdaLR(optimizer, lambda step: earlier(step) if step < settings.continue_from else later(step))


def _schedule(optimizer: torch.optim.Optimizer, settings: TrainingSettings, steps: int) -> Any:
    name = "constant_with_warmup" if settings.lr_scheduler == "constant" else settings.lr_scheduler
    return get_scheduler(name, optimizer, num_warmup_steps=settings.lr_warmup_steps, num_training_steps=steps)


def restore_lr_scheduler(lr_scheduler: Any, state: dict[str, Any]) -> None:
    """Restore a saved step; its rate is that of this schedule, even if the state was saved under another."""
    lr_scheduler.load_state_dict(state)
    rates = [
        base * factor(lr_scheduler.last_epoch)
        for base, factor in zip(lr_scheduler.base_lrs, lr_scheduler.lr_lambdas, strict=True)
    ]
    for group, rate in zip(lr_scheduler.optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    lr_scheduler._last_lr = rates


def _from(package: str, path: str) -> Any:
    try:
        found: Any = importlib.import_module(package)
    except ImportError:
        remedy = f"Install it with `pip install latentloom[optimizers]`, or {package} alone; or choose adamw."
        raise InputError(f"the optimizer needs {package}, which is not installed.", field="optimizer", remedy=remedy) from None
    for name in path.split("."):
        found = getattr(found, name)
    return found
