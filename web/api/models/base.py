"""The form of all messages, and lists of problems."""

from pydantic import BaseModel, ConfigDict

from graph_runtime.errors import Problem

MAX_NUMBER = 2**31 - 1
"""The largest number in a message; larger ones would overflow in C, and no count here reaches it."""


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True)


class Problems(Message):
    """Every problem; the body of every refusal, and of a validation."""

    problems: list[Problem]


class ValidationReply(Message):
    """Every problem of a document, and the warnings of a valid one."""

    problems: list[Problem]
    warnings: list[Problem]
