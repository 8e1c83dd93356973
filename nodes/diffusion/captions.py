"""Captions from names, templates and tags."""

import random
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from nodes.diffusion.errors import InputError

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def caption_from_name(name: str) -> str:
    """`animals/red_apple-2.png` becomes `red apple`."""
    return re.sub(r"[\s_-]+", " ", re.sub(r"[ _-]*\(?\d+\)?$", "", PurePosixPath(name).stem)).strip()


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace `{name}` by its value, and nothing else; raise InputError for an unknown name."""

    def value(match: re.Match[str]) -> str:
        if match[1] not in values:
            known = ", ".join(f"{{{name}}}" for name in values)
            raise InputError(f"the template has {match[0]}, which is not known.", field="template", remedy=f"There are: {known}.")
        return values[match[1]]

    return " ".join(PLACEHOLDER.sub(value, template).split())


def shuffled(caption: str, *, keep: int, count: int, seed: str) -> tuple[str, ...]:
    """Return up to `count` different orders of a caption's comma-separated tags, the first `keep` of them in place."""
    tags = [tag.strip() for tag in caption.split(",") if tag.strip()]
    draw, variants = random.Random(seed), dict[str, None]()
    for _ in range(4 * count):
        rest = tags[keep:]
        draw.shuffle(rest)
        variants[", ".join(tags[:keep] + rest)] = None
        if len(variants) == count:
            break
    return tuple(variants)
