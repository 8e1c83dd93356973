"""The error for invalid inputs."""


class InputError(ValueError):
    """The input is invalid; `field` names the setting or wire and `remedy` gives the change to make."""

    def __init__(self, message: str, *, field: str = "", remedy: str = "") -> None:
        super().__init__(message)
        self.field = field
        self.remedy = remedy
