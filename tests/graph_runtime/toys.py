"""Small nodes without torch, to test the runtime with."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

from pydantic import Field, model_validator

from graph_runtime.context import Artifact, RunContext
from graph_runtime.discovery import Palette
from graph_runtime.node import Json, Node, OutsideFiles, WorkspaceFile, describe

CALLS: list[str] = []
"""The nodes that have run, by what they were told to say."""


class Number(Node):
    """A number."""

    value: int = 0
    """The number."""

    def run(self) -> int:
        CALLS.append(f"Number {self.value}")
        return self.value


class Add(Node):
    """The sum of two numbers."""

    offset: Annotated[int, Field(le=1000)] = 0
    """Added on top."""

    def run(self, left: int, right: int) -> int:
        CALLS.append("Add")
        return left + right + self.offset


class Total(Node):
    """The sum of any count of numbers."""

    def run(self, numbers: list[int], extra: int | None = None) -> int:
        CALLS.append("Total")
        return sum(numbers) + (extra or 0)


class Halves(NamedTuple):
    quotient: int
    remainder: int


class Divide(Node):
    """Quotient and remainder."""

    by: Annotated[int, Field(ge=1)]
    """The divisor."""

    def run(self, number: int) -> Halves:
        return Halves(*divmod(number, self.by))


class Text(Node):
    """A text."""

    text: str = ""
    """The text."""
    style: Literal["plain", "loud"] = "plain"
    """How it is said."""
    note: str = ""
    """Does not matter."""

    not_in_key: ClassVar[frozenset[str]] = frozenset({"note"})

    def run(self) -> str:
        CALLS.append(f"Text {self.text}")
        return self.text.upper() if self.style == "loud" else self.text


class Fail(Node):
    """Always fails."""

    def run(self, number: int) -> int:
        error = ValueError("this number is not liked.")
        error.field, error.remedy = "number", "Choose another."  # type: ignore[attr-defined]
        raise error


class ReadFile(Node):
    """The content of a file."""

    path: WorkspaceFile
    """The file."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        return files.digest_file(self.path)

    def run(self, context: RunContext) -> str:
        CALLS.append("ReadFile")
        return context.locate(context.fingerprint).read_text()


class WriteText(Node):
    """Saves a text."""

    side_effects: ClassVar[bool] = True
    filename: str = "text.txt"
    """Name of the file."""

    def run(self, text: str, context: RunContext) -> Artifact:
        CALLS.append("WriteText")
        return Artifact(self.filename, context.add_file(".txt", lambda path: path.write_text(text)))


class Count(Node):
    """Counts, keeping its progress."""

    resumable: ClassVar[bool] = True
    steps: int = 5
    """How far."""

    def run(self, context: RunContext) -> int:
        assert context.progress_folder is not None
        mark = context.progress_folder / "step"
        step = int(mark.read_text()) if mark.exists() else 0
        CALLS.append(f"Count from {step}")
        while step < self.steps:
            step += 1
            mark.write_text(str(step))
            context.metric(step, loss=1 / step)
            context.preview(step, context.add_file(".txt", lambda path, step=step: path.write_text(f"picture {step}")))
            context.progress(step, self.steps)
        return step


class Table(Node):
    """All numbers that come of one or two fields, and the name that a person gave them."""

    sweeps: ClassVar[tuple[tuple[str, str], ...]] = (("x", "x_values"), ("y", "y_values"))
    x: str = ""
    """A field."""
    x_values: str = ""
    """Its values."""
    y: str = ""
    """Another field."""
    y_values: str = ""
    """Its values."""
    name: str = ""
    """A name."""

    def run(self, numbers: list[int | str]) -> str:
        CALLS.append("Table")
        return f"{self.name}{numbers}"


class Between(Node):
    """A number, if it lies between two others."""

    low: int = 0
    """The lower bound."""
    high: int = 10
    """The upper bound."""

    @model_validator(mode="after")
    def _ordered(self) -> "Between":
        if self.low > self.high:
            raise ValueError("low is above high")
        return self

    def run(self, number: int) -> int:
        return min(max(number, self.low), self.high)


NODES = (Number, Add, Total, Divide, Text, Fail, ReadFile, WriteText, Count, Table, Between)
PALETTE = Palette({cls.__name__: describe(cls, "toys", "toys") for cls in NODES}, (Path("/nowhere"),))
