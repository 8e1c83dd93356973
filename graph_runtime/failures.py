"""A node's error in plain words."""

import errno
import signal

from graph_runtime.errors import Problem
from graph_runtime.graph import Step, problem_of


def explained(error: Exception, step: Step) -> Problem:
    """Return what a person should read about a node's error, the usual causes put in plain words."""
    if _disk_is_full(error):
        where = f" at {error.filename}" if isinstance(error, OSError) and error.filename else ""
        return Problem(f"the disk is full{where}.", step.id, remedy="Free some space and run again: what is finished is kept.")
    if isinstance(error, OSError) and error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        remedy = "Change its permissions, or choose another place."
        return Problem(f"{error.filename} cannot be used: {error.strerror}.", step.id, remedy=remedy)
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return Problem("the memory is full.", step.id, remedy="Use a smaller batch_size or resolution.")
    if hasattr(error, "remedy"):
        return problem_of(error, step)
    text = f"{type(error).__name__}: {error}".rstrip(". ")
    return Problem(f"{text}.", step.id, remedy="The run folder has the details in errors.txt.")


def worker_ended(status: int) -> Problem:
    """Return what a person should read when the worker process ended in the middle of a run with this exit status."""
    kept = "Run again: what is finished is kept, and a training goes on from its last checkpoint."
    if status == -9:
        remedy = f"Use a smaller batch_size or resolution, or close other programs. {kept}"
        return Problem("the worker process was killed (signal 9), most likely because memory ran out.", remedy=remedy)
    details = f"{kept} The run folder has the last messages of the process in errors.txt."
    if status < 0:
        name = (signal.strsignal(-status) or "unknown signal").lower()
        return Problem(f"the worker process crashed (signal {-status}, {name}).", remedy=details)
    return Problem(f"the worker process ended with exit status {status}.", remedy=details)


def _disk_is_full(error: Exception) -> bool:
    """Whether this is ENOSPC, as Python's own error or as text from a library written in Rust."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return f"os error {errno.ENOSPC}" in str(error)
