"""Alignment of an edited prompt's tokens with those of the original."""

from difflib import SequenceMatcher

import torch
from torch import Tensor

from nodes.diffusion.text.chunks import Chunks


def align_tokens(source: Chunks, target: Chunks, length: int = 77) -> Tensor:
    """Return a matrix [n, n]: row i, column j is the share of source token i's attention that target token j takes.

    Both have the same number of chunks, each of `length` tokens with start and end of text. Equal tokens take each other's
    attention; words in the place of others share theirs evenly, as in Prompt-to-Prompt's replacement (Hertz et al. 2023);
    tokens that were added get an empty column, as in its refinement. Start, end and padding follow those of their chunk.
    """
    matrix = torch.zeros(len(source.ids) * length, len(target.ids) * length)
    rows, columns = torch.tensor(source.places(length)), torch.tensor(target.places(length))
    for kind, i1, i2, j1, j2 in SequenceMatcher(None, source.kept, target.kept, autojunk=False).get_opcodes():
        if i2 - i1 == j2 - j1:
            matrix[rows[i1:i2], columns[j1:j2]] = 1
        elif kind == "replace":
            matrix[rows[i1:i2, None], columns[j1:j2]] = 1 / (j2 - j1)
    for number, (own, other) in enumerate(zip(source.ids, target.ids, strict=True)):
        start, end, new_end = number * length, len(own) + 1, len(other) + 1
        matrix[start, start] = 1
        for place in range(length - max(end, new_end)):
            matrix[start + end + place, start + new_end + place] = 1
    return matrix
