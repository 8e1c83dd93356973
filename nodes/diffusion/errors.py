"""The error that a person can act on."""


class InputError(ValueError):
    """The input cannot be used; `field` names the setting or wire and `remedy` says what to change."""

    def __init__(self, message: str, *, field: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.remedy = remedy
