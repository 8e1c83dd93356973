"""The form of all messages, and lists of problems."""

from pydantic import BaseModel, ConfigDict

from graph_runtime.errors import Problem

MAX_NUMBER = 2**31 - 1
"""Nothing that is counted here goes so far; beyond, numbers no longer fit where C keeps them."""


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True)


class Problems(Message):
    """Everything that is wrong; the body of every refusal, and of a validation."""

    problems: list[Problem]


class ValidationReply(Message):
    """Everything that is wrong with a document, and what it leaves out although nothing is wrong."""

    problems: list[Problem]
    warnings: list[Problem]
