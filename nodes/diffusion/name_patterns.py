"""Patterns of layer names from files, matched in bounded time: a regular expression of Python's can be made to run for years.

Known are letters, `.`, `\\d \\w \\s`, escaped signs, `[a-z]`, groups, `|`, `* + ?`, `^` and `$`: what people write. A name
is followed by the set of places that a pattern may have reached in it, so nothing is tried twice.
"""

import re
from collections.abc import Callable
from functools import lru_cache

Places = frozenset[int]
Matcher = Callable[[str, Places], Places]

ONE = r"\\[dDwWsS]|\\[^\w\s]|\[\^?(?:\\[dws]|\w-\w|[\w.])+-?\]|[^\\\[\](){}|*+?^$]"
"""What matches one character."""
LITERAL = re.compile(r"(?:\\?\.|[\w-])*")
TOKEN = re.compile(rf"{ONE}|\(\?:|[()|*+?^$]")
LONGEST = 1000
DEEPEST = 5


def is_plain(pattern: str) -> bool:
    """Whether a pattern is a name, with dots for any character."""
    return LITERAL.fullmatch(pattern) is not None


@lru_cache(maxsize=8192)
def name_pattern(pattern: str) -> Callable[[str], bool]:
    """Return whether a name, or the end of it behind a dot, matches, as PEFT asks it; ValueError for what is not known."""
    tokens = TOKEN.findall(pattern)
    if "".join(tokens) != pattern or len(pattern) > LONGEST:
        raise ValueError(pattern)
    parser = _Parser(tokens)
    reached = parser.alternatives(0)
    if parser.tokens:
        raise ValueError(pattern)

    def matches(name: str) -> bool:
        starts = frozenset([0, *(place + 1 for place, letter in enumerate(name) if letter == ".")])
        return len(name) in reached(name, starts)

    return matches


class _Parser:
    """Takes tokens from the front and returns what they match; ValueError where they make no pattern."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens = tokens

    def alternatives(self, depth: int) -> Matcher:
        if depth > DEEPEST:
            raise ValueError("too deep")
        choices = [self._sequence(depth)]
        while self.tokens[:1] == ["|"]:
            self.tokens.pop(0)
            choices.append(self._sequence(depth))
        return lambda name, places: frozenset().union(*(choice(name, places) for choice in choices))

    def _sequence(self, depth: int) -> Matcher:
        pieces: list[Matcher] = []
        while self.tokens and self.tokens[0] not in ("|", ")"):
            pieces.append(self._quantified(self._run() or self._atom(depth)))

        def follow(name: str, places: Places) -> Places:
            for piece in pieces:
                places = piece(name, places)
            return places

        return follow

    def _run(self) -> Matcher | None:
        """The characters up to one that is quantified, all at once; None where another thing stands."""
        count = next((n for n, token in enumerate(self.tokens) if not re.fullmatch(ONE, token)), len(self.tokens))
        if count > 1 and self.tokens[count : count + 1] and self.tokens[count] in "*+?":
            count -= 1
        run, self.tokens = self.tokens[:count], self.tokens[count:]
        return _characters("".join(run), count) if run else None

    def _atom(self, depth: int) -> Matcher:
        token = self.tokens.pop(0)
        if token == "^":
            return lambda name, places: places & {0}
        if token == "$":
            return lambda name, places: places & {len(name)}
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
            return lambda name, places: places | piece(name, places)
        if quantifier == "*":
            return lambda name, places: _repeated(piece, name, places)
        return lambda name, places: _repeated(piece, name, piece(name, places))


def _characters(expression: str, count: int) -> Matcher:
    try:
        compiled = re.compile(expression)
    except re.error as error:
        raise ValueError(expression) from error
    return lambda name, places: frozenset(place + count for place in places if compiled.match(name, place))


def _repeated(piece: Matcher, name: str, places: Places) -> Places:
    seen = new = places
    while new:
        new = piece(name, new) - seen
        seen |= new
    return seen
