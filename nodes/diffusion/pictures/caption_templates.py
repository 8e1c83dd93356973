"""Captions from names, templates and tags."""

import random
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from nodes.diffusion.pictures.picture_folders import folder_repeats

PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
NAMES = ("caption", "name", "trigger", "folder")


def checked_template(template: str) -> str:
    """Return a template whose braces all name something known; raise ValueError otherwise."""
    unknown = [match[0] for match in PLACEHOLDER.finditer(template) if match[1] not in NAMES]
    left = PLACEHOLDER.sub("", template)
    if unknown or "{" in left or "}" in left:
        known = ", ".join(f"{{{name}}}" for name in NAMES)
        raise ValueError(f"{unknown[0] if unknown else 'a single brace'} means nothing here; there are {known}")
    return template


def caption_from_name(name: str) -> str:
    """Return the words of a file's name, without folder and number: `animals/red_apple-2.png` gives `red apple`."""
    return re.sub(r"[\s_-]+", " ", re.sub(r"[ _-]*\(?\d+\)?$", "", PurePosixPath(name).stem)).strip()


def words_of_folder(name: str, repeats: int) -> str:
    """Return the words of a picture's folder without kohya's repeats: `10_red_apples/1.png` gives `red apples`."""
    folder = folder_repeats(PurePosixPath(name).parent.name, repeats)[1]
    return " ".join(folder.replace("_", " ").split())


def fill(template: str, values: Mapping[str, str]) -> str:
    """Replace each `{name}` of a checked template by its value, and nothing else."""
    return " ".join(PLACEHOLDER.sub(lambda match: values[match[1]], template).split())


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
