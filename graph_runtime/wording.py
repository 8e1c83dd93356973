"""Validation errors of pydantic as readable sentences."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

WHOLE = "a whole number is needed, and {shown} is none."
NUMBER = "a number is needed, and {shown} is none."
FINITE = "a finite number is needed, not {shown}."
SWITCH = "true or false is needed, and {shown} is neither."
TEXT = "a text is needed, and {shown} is none."
SENTENCES: Mapping[str, str] = {
    "int_parsing": WHOLE,
    "int_from_float": WHOLE,
    "int_type": WHOLE,
    "int_parsing_size": "{shown} is too large.",
    "float_parsing": NUMBER,
    "float_type": NUMBER,
    "finite_number": FINITE,
    "bool_parsing": SWITCH,
    "bool_type": SWITCH,
    "string_type": TEXT,
    "greater_than": "it must be more than {gt}, and is {shown}.",
    "greater_than_equal": "it must be at least {ge}, and is {shown}.",
    "less_than": "it must be less than {lt}, and is {shown}.",
    "less_than_equal": "it must be at most {le}, and is {shown}.",
    "multiple_of": "it must be a multiple of {multiple_of}, and is {shown}.",
    "literal_error": "{shown} is none of the choices: {expected}.",
    "enum": "{shown} is none of the choices: {expected}.",
    "string_pattern_mismatch": "{shown} does not have the form that is needed here.",
    "string_too_short": "at least {min_length} characters are needed, and {shown} is shorter.",
    "string_too_long": "at most {max_length} characters fit here.",
    "missing": "a value is needed.",
    "extra_forbidden": "there is no such field.",
}
LONGEST = 200


def readable(details: ErrorDetails) -> str:
    """Return one of pydantic's error details as a sentence that begins in lower case."""
    kind = str(details["type"])
    shown = _shown(details["input"])
    if shown in ("'nan'", "nan") and kind.startswith(("less_than", "greater_than")):
        return FINITE.format(shown="nan")
    if sentence := SENTENCES.get(kind):
        context = {name: _number(value) for name, value in dict(details.get("ctx") or {}).items()}
        return sentence.format(**context, shown=shown)
    text = str(details["msg"]).removeprefix("Value error, ")[:LONGEST]
    return f"{text[:1].lower()}{text[1:]}."


def _number(value: object) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 1e15 else value


def _shown(value: object) -> str:
    """Return a value as the user wrote it, cut short."""
    if value is None:
        return "an empty value"
    names: dict[type, Callable[[Any], str]] = {
        bool: lambda it: str(it).lower(),
        dict: lambda _: "an object",
        list: lambda _: "a list",
    }
    text = names.get(type(value), repr)(_number(value))
    return text if len(text) <= 60 else f"{text[:60]}..."
