"""Which tokens of an edited prompt stand for which of the original."""

from collections.abc import Sequence
from difflib import SequenceMatcher

import torch
from torch import Tensor


def align_tokens(source: Sequence[int], target: Sequence[int], length: int = 77) -> Tensor:
    """Return a matrix [length, length]: row i, column j is the share of source token i's attention that target token j takes.

    Both are given without start and end of text and stand at 1, 2, ... behind the start. Equal tokens take each other's
    attention; words in the place of others share theirs evenly, as in Prompt-to-Prompt's replacement (Hertz et al. 2023);
    tokens that were added get an empty column, as in its refinement. End of text and padding follow the end.
    """
    source, target = source[: length - 2], target[: length - 2]
    matrix = torch.zeros(length, length)
    matrix[0, 0] = 1
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, list(source), list(target), autojunk=False).get_opcodes():
        rows, columns = slice(i1 + 1, i2 + 1), slice(j1 + 1, j2 + 1)
        if i2 - i1 == j2 - j1:
            matrix[rows, columns] = torch.eye(i2 - i1)
        elif kind == "replace":
            matrix[rows, columns] = 1 / (j2 - j1)
    end, new_end = len(source) + 1, len(target) + 1
    shared = length - max(end, new_end)
    matrix[end : end + shared, new_end : new_end + shared] = torch.eye(shared)
    return matrix
