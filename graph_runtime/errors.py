"""Problems, each naming the node, the field and the remedy."""

import difflib
from collections.abc import Collection
from dataclasses import asdict, dataclass
from itertools import islice


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, where it is, and what to do about it."""

    message: str
    node: str = ""
    field: str = ""
    remedy: str = ""

    def __str__(self) -> str:
        place = ".".join(part for part in (self.node, self.field) if part)
        text = f"{place}: {self.message}" if place else self.message
        return printable(f"{text} {self.remedy}".rstrip())

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def printable(text: str) -> str:
    """Return text from outside, such as a file's name, without terminal control and bidirectional characters."""
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "�" for letter in text)


MAX_COMPARISONS = 20_000
LONGEST_COMPARED = 64
MAX_LISTED = 30


class Suggestions:
    """Suggests known names for unknown ones, as long as that takes little: a workflow may have thousands of both."""

    def __init__(self) -> None:
        self._left = MAX_COMPARISONS

    def did_you_mean(self, name: str, known: Collection[str], otherwise: str = "") -> str:
        """Return a remedy that suggests the known name most like `name`, capital or small letters aside."""
        if len(name) > LONGEST_COMPARED or len(known) > self._left:
            return otherwise
        self._left -= len(known)
        by_letters = {each.casefold(): each for each in known}
        nearest = difflib.get_close_matches(name.casefold(), by_letters, n=1)
        return f"Did you mean {by_letters[nearest[0]]}?" if nearest else otherwise


def did_you_mean(name: str, known: Collection[str], otherwise: str = "") -> str:
    """Return a remedy for a single unknown name."""
    return Suggestions().did_you_mean(name, known, otherwise)


def choice_of(kind: str, names: Collection[str]) -> str:
    """Return a remedy that lists the first few names of a kind, such as fields, or a sentence that there are none."""
    shown = ", ".join(islice(names, MAX_LISTED)) + (", ..." if len(names) > MAX_LISTED else "")
    return f"Its {kind} are: {shown}." if names else f"It has no {kind}."


class WorkflowError(Exception):
    """The workflow or the call is wrong; nothing has run."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class Interrupted(Exception):
    """The run was asked to stop."""


class DamagedCache(Exception):
    """The cache folder cannot be used; the message gives the reason and the remedy."""
