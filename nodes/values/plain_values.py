"""WholeNumber, DecimalNumber, Text: one value that several nodes share."""

from typing import Annotated, ClassVar

from pydantic import Field

from graph_runtime.node import Node, Prompt


class WholeNumber(Node):
    """A whole number to wire into fields, such as one seed for several nodes."""

    synonyms: ClassVar[tuple[str, ...]] = ("integer", "int", "seed", "constant", "primitive")

    value: Annotated[int, Field(ge=-(2**53), le=2**53)] = 0
    """What the wire carries."""

    def run(self) -> int:
        return self.value


class DecimalNumber(Node):
    """A number to wire into fields, such as one learning rate for several trainings."""

    synonyms: ClassVar[tuple[str, ...]] = ("float", "constant", "primitive")

    value: float = 0.0
    """What the wire carries."""

    def run(self) -> float:
        return self.value


class Text(Node):
    """Text to wire into fields, such as the same prompts for previews and samples."""

    synonyms: ClassVar[tuple[str, ...]] = ("string", "prompt", "constant", "primitive")

    value: Prompt = ""
    """What the wire carries."""

    def run(self) -> str:
        return self.value
