"""What prompts need of a tokenizer."""

from collections.abc import Mapping, Sequence
from typing import Protocol


class Tokenizer(Protocol):
    """A tokenizer of transformers, whose own annotations leave open what a call returns."""

    bos_token_id: int
    eos_token_id: int
    pad_token_id: int
    model_max_length: int

    def __call__(self, text: str, /, *, add_special_tokens: bool) -> Mapping[str, list[int]]:
        """Return the token ids of a text, as `input_ids`."""
        ...

    def __len__(self) -> int:
        """Return the number of its tokens, with those that were added."""
        ...

    def convert_ids_to_tokens(self, ids: Sequence[int], /) -> list[str]:
        """Return the tokens of ids."""
        ...
