"""Nodes that take their time, print, or die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from graph_runtime.context import Artifact, RunContext
from graph_runtime.node import Node, widget


class Say(Node):
    """A text."""

    text: str = "hello"
    """The text."""

    def run(self) -> str:
        return self.text


class Rate(Node):
    """A number of stars."""

    stars: Annotated[int, Field(ge=0, le=5), widget("stars")] = 1
    """How many, edited by this package's own widget."""
    flavor: Annotated[str, widget("broken")] = "plain"
    """A text whose widget does not load."""

    def run(self) -> str:
        return "*" * self.stars


class Season(Node):
    """A strength of flavor."""

    flavor: Annotated[int, Field(ge=0, le=5), widget("stars")] = 2
    """How much, edited by a widget that loads, where Rate has one of this name that does not."""

    def run(self) -> str:
        return "." * self.flavor


class Print(Node):
    """Hands a text on and prints as much as it can, in every way there is."""

    def run(self, text: str) -> str:
        print('{"done": "failed"}', flush=True)  # noqa: T201
        os.write(1, b'{"event": 1}\n')
        os.system('echo \'{"done": "failed"}\'')
        sys.stderr.write("to stderr " * 20_000)
        return text + sys.stdin.read()


class Work(Node):
    """Counts slowly, keeps its progress, and looks whether it should stop."""

    resumable: ClassVar[bool] = True
    steps: int = 5
    """How far."""
    pause: Annotated[float, Field(ge=0)] = 0.0
    """Seconds per step."""

    def run(self, text: str, context: RunContext) -> str:
        assert context.progress_folder is not None
        mark = context.progress_folder / "step"
        step = int(mark.read_text()) if mark.exists() else 0
        while step < self.steps:
            context.stop_if_asked()
            time.sleep(self.pause)
            step += 1
            mark.write_text(str(step))
            context.metric(step, loss=1 / step)
        return f"{text} {step}"


class Gate(Node):
    """Waits for a file and never looks whether it should stop."""

    file: str
    """The file."""

    def run(self, text: str, context: RunContext) -> str:
        context.message("waiting")
        while not Path(self.file).exists():
            time.sleep(0.02)
        return text


class Die(Node):
    """Takes the process with it."""

    how: Literal["segfault", "kill", "exit"] = "segfault"
    """The way to go."""

    def run(self, text: str) -> str:
        sys.stderr.write("last words\n")
        sys.stderr.flush()
        if self.how == "exit":
            os._exit(3)
        os.kill(os.getpid(), signal.SIGSEGV if self.how == "segfault" else signal.SIGKILL)
        return text


class Orphan(Node):
    """Leaves a child, which holds the pipes of its parent, and takes the process with it."""

    file: str
    """Where the child's process id is written."""
    own_session: bool = False
    """Whether the child gets away from the process group."""

    def run(self, text: str) -> str:
        child = subprocess.Popen(["sleep", "600"], start_new_session=self.own_session)
        Path(self.file).write_text(str(child.pid))
        os._exit(3)


class Keep(Node):
    """Saves a text."""

    side_effects: ClassVar[bool] = True
    filename: str = "text.txt"
    """Name of the file."""

    def run(self, text: str, context: RunContext) -> Artifact:
        return Artifact(self.filename, context.add_file(".txt", lambda path: path.write_text(text)))


class WhatIsLoaded(Node):
    """Names of the heavy modules that the process has loaded."""

    def run(self, text: str) -> str:
        return " ".join(sorted({"torch", "diffusers", "numpy", "PIL"} & set(sys.modules)))
