"""Explanations of a node's error in plain words."""

import errno
import re
import signal

from graph_runtime.errors import Problem
from graph_runtime.graph import problem_of
from graph_runtime.steps import Step

NO_MEMORY = "can't allocate memory"
"""Part of the RuntimeError of torch's CPU allocator."""
ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+) ?(\w+)")
FREE = re.compile(r"total capacity of ([\d.]+ \w+) of which ([\d.]+ \w+) is free")
SPACE = "Free some space"
NO_ROOM: dict[int, tuple[str, str]] = {
    errno.ENOSPC: ("the disk is full", SPACE),
    errno.EDQUOT: ("your share of the disk (quota) is used up", SPACE),
    errno.EFBIG: (
        "a file would become larger than it may be",
        "Raise the limit (`ulimit -f`), or choose a disk that takes larger files (FAT32 ends at 4 GiB)",
    ),
}
"""By errno, the reason why nothing more can be written, and the remedy."""
RUST = re.compile(r"\bos error (\d+)")
SAVING = {
    "batch_size": "lower batch_size",
    "resolution": "lower resolution",
    "gradient_checkpointing": "turn gradient_checkpointing on",
    "precision": "choose bf16 as precision",
}
"""By field of a node, the change that saves memory."""


def explained(error: Exception, step: Step) -> Problem:
    """Return the problem to show for a node's error, with plain words for the usual causes."""
    if number := _unwritable(error):
        message, remedy = NO_ROOM[number]
        where = f" at {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return Problem(f"{message}{where}.", step.id, remedy=f"{remedy} and run again: what is finished is kept.")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        remedy = "Change its permissions, or choose another place."
        return Problem(f"{error.filename} cannot be used: {error.strerror}.", step.id, remedy=remedy)
    if _memory_is_full(error):
        return _short_of_memory(error, step)
    if hasattr(error, "remedy"):
        return problem_of(error, step)
    text = f"{type(error).__name__}: {error}".rstrip(". ")
    return Problem(f"{text}.", step.id, remedy="The run folder has the details in errors.txt.")


def worker_ended(status: int) -> Problem:
    """Return the problem to show when the worker process ended in the middle of a run with this exit status."""
    kept = "Run again: what is finished is kept, and a training goes on from its last checkpoint."
    if status == -9:
        remedy = f"Use a smaller batch_size or resolution, or close other programs. {kept}"
        return Problem("the worker process was killed (signal 9), most likely because memory ran out.", remedy=remedy)
    details = f"{kept} The run folder has the last messages of the process in errors.txt."
    if status < 0:
        name = (signal.strsignal(-status) or "unknown signal").lower()
        return Problem(f"the worker process crashed (signal {-status}, {name}).", remedy=details)
    return Problem(f"the worker process ended with exit status {status}.", remedy=details)


def _memory_is_full(error: Exception) -> bool:
    named = isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
    return named or (isinstance(error, RuntimeError) and NO_MEMORY in str(error))


def _short_of_memory(error: Exception, step: Step) -> Problem:
    asked, free = ASKED.search(str(error)), FREE.search(str(error))
    message = "the memory is full" if free is None else "the memory of the device is full"
    if asked:
        amount = f"{int(asked[1]) / 2**30:.2f} GiB" if asked[2] == "bytes" else f"{asked[1]} {asked[2]}"
        message += f": {amount} more were asked for"
    if free:
        message += f", and {free[2]} of {free[1]} are free"
    ways = [way for name, way in SAVING.items() if name in step.type.cls.model_fields] or ["use a smaller model"]
    listed = ", ".join(["Close other programs that use it", *ways[:-1]])
    remedy = f"{listed} or {ways[-1]}. What is finished is kept."
    return Problem(f"{message}.", step.id, remedy=remedy)


def _unwritable(error: BaseException | None) -> int:
    """Return the errno if it is in `NO_ROOM`, else 0: of an OSError, of a Rust library's message, or of a chained error."""
    seen = set[int]()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        found = RUST.search(str(error))
        number = (error.errno or 0) if isinstance(error, OSError) else int(found[1]) if found else 0
        if number in NO_ROOM:
            return number
        error = None if hasattr(error, "remedy") else error.__cause__ or error.__context__
    return 0
