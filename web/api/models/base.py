"""The form of all messages, and reports of problems."""

from pydantic import BaseModel, ConfigDict

MAX_NUMBER = 2**31 - 1
"""Nothing that is counted here goes so far; beyond, numbers no longer fit where C keeps them."""


class Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, defer_build=True)


class ProblemReport(Message):
    """One thing that is wrong, where it is, and what to do about it."""

    message: str
    node: str
    field: str
    remedy: str


class Problems(Message):
    """Everything that is wrong; the body of every refusal, and of a validation."""

    problems: list[ProblemReport]


class ValidationReply(Message):
    """Everything that is wrong with a document, and what it leaves out although nothing is wrong."""

    problems: list[ProblemReport]
    warnings: list[ProblemReport]
