"""Patterns of layer names from files, matched in bounded time, as some of Python's regular expressions would run for years.

Supported are letters, `.`, `\\d \\w \\s`, escaped signs, `[a-z]`, groups, `|`, `* + ?`, `^` and `$`: what people write. A name
is followed by the set of places that a pattern may have reached in it, so nothing is tried twice; and all that is done for
the patterns of one file is counted.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

Places = frozenset[int]

ONE = r"\\[dDwWsS]|\\[^\w\s]|\[\^?(?:\\[dws]|\w-\w|[\w.])+-?\]|[^\\\[\](){}|*+?^$]"
"""A pattern that matches one character."""
LITERAL = re.compile(r"(?:\\?\.|[\w-])*")
TOKEN = re.compile(rf"{ONE}|\(\?:|[()|*+?^$]")
LONGEST = 1000
DEEPEST = 5
MOST_WORK = 10_000_000
"""About five seconds. A pattern of a name takes 1 for each name that it is tried on; others take up to some hundred."""


class TooMuchWork(ValueError):
    """The limit of work is exceeded."""


@dataclass
class Work:
    """The remaining work for the patterns of one file: the number of positions that may still be tried."""

    left: int = MOST_WORK

    def take(self, places: int) -> None:
        self.left -= places
        if self.left < 0:
            raise TooMuchWork


@dataclass(frozen=True)
class Tried:
    """A name that a pattern is tried on."""

    name: str
    work: Work


Matcher = Callable[[Tried, Places], Places]


def is_plain(pattern: str) -> bool:
    """Return whether a pattern is a name, with dots for any character."""
    return LITERAL.fullmatch(pattern) is not None


@lru_cache(maxsize=8192)
def name_pattern(pattern: str) -> Callable[[str, Work], bool]:
    """Return a function that matches a name, or its end behind a dot, as PEFT does; ValueError for unsupported syntax.

    The function raises TooMuchWork when the given work does not suffice.
    """
    tokens = TOKEN.findall(pattern)
    if "".join(tokens) != pattern or len(pattern) > LONGEST:
        raise ValueError(pattern)
    if is_plain(pattern):
        return _plain(re.compile(pattern), len(tokens))
    parser = _Parser(tokens)
    reached = parser.alternatives(0)
    if parser.tokens:
        raise ValueError(pattern)

    def matches(name: str, work: Work) -> bool:
        starts = frozenset([0, *(place + 1 for place, letter in enumerate(name) if letter == ".")])
        return len(name) in reached(Tried(name, work), starts)

    return matches


def _plain(compiled: re.Pattern[str], count: int) -> Callable[[str, Work], bool]:
    """Return the matcher of a pattern of fixed length, which has one position to try."""

    def matches(name: str, work: Work) -> bool:
        work.take(1)
        start = len(name) - count
        return (start == 0 or (start > 0 and name[start - 1] == ".")) and compiled.match(name, start) is not None

    return matches


class _Parser:
    """Parses tokens into matchers; raises ValueError where they make no pattern."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def alternatives(self, depth: int) -> Matcher:
        if depth > DEEPEST:
            raise ValueError("too deep")
        choices = [self._sequence(depth)]
        while self.tokens[:1] == ["|"]:
            self.tokens.pop(0)
            choices.append(self._sequence(depth))
        return lambda tried, places: frozenset().union(*(choice(tried, places) for choice in choices))

    def _sequence(self, depth: int) -> Matcher:
        pieces: list[Matcher] = []
        while self.tokens and self.tokens[0] not in ("|", ")"):
            pieces.append(self._quantified(self._run() or self._atom(depth)))

        def follow(tried: Tried, places: Places) -> Places:
            tried.work.take(1 + len(places))
            for piece in pieces:
                places = piece(tried, places)
                tried.work.take(1 + len(places))
            return places

        return follow

    def _run(self) -> Matcher | None:
        """Return the matcher of the characters before a quantified one; None without any."""
        count = next((n for n, token in enumerate(self.tokens) if not re.fullmatch(ONE, token)), len(self.tokens))
        if count > 1 and self.tokens[count : count + 1] and self.tokens[count] in "*+?":
            count -= 1
        run, self.tokens = self.tokens[:count], self.tokens[count:]
        return _characters("".join(run), count) if run else None

    def _atom(self, depth: int) -> Matcher:
        token = self.tokens.pop(0)
        if token == "^":
            return lambda _, places: places & {0}
        if token == "$":
            return lambda tried, places: places & {len(tried.name)}
        if token not in ("(", "(?:"):
            raise ValueError(token)
        inner = self.alternatives(depth + 1)
        if self.tokens[:1] != [")"]:
            raise ValueError("an open group")
        self.tokens.pop(0)
        return inner

    def _quantified(self, piece: Matcher) -> Matcher:
        if not self.tokens or self.tokens[0] not in ("*", "+", "?"):
            return piece
        quantifier = self.tokens.pop(0)
        if self.tokens[:1] == ["?"]:  # lazy: matches the same names
            self.tokens.pop(0)
        if quantifier == "?":
            return lambda tried, places: places | piece(tried, places)
        if quantifier == "*":
            return lambda tried, places: _repeated(piece, tried, places)
        return lambda tried, places: _repeated(piece, tried, piece(tried, places))


def _characters(expression: str, count: int) -> Matcher:
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise ValueError(expression) from error

    def follow(tried: Tried, places: Places) -> Places:
        tried.work.take(len(places))
        return frozenset(place + count for place in places if compiled.match(tried.name, place))

    return follow


def _repeated(piece: Matcher, tried: Tried, places: Places) -> Places:
    seen = new = places
    while new:
        new = piece(tried, new) - seen
        seen |= new
        tried.work.take(1 + len(new))
    return seen
