"""ScoreImages."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles, Prompt, Wired
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.clip_folders import BUNDLED_CLIP, clip_folders, clip_reference
from nodes.diffusion.formats.weight_files import identifying
from nodes.diffusion.handles.datasets import ImageDataset
from nodes.diffusion.handles.results import GeneratedImage, ImageSet, ScoreRow, Scores
from nodes.evaluation.judge import Judge, checked_meanings, meanings
from nodes.evaluation.remembered import remembered

SHOWN = {"clip_i": "CLIP-I", "clip_t": "CLIP-T", "psnr": "PSNR"}


class ScoreImages(Node):
    """Measure drawn pictures, each row by itself: how like the references they are, and how well they show their prompts.

    CLIP-I is the mean cosine of the image embeddings of all pairs of picture and reference, CLIP-T that of each picture and its
    prompt, PSNR (dB) compares pixels. Numbers of different CLIPs cannot be compared.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("CLIP score", "CLIP-I", "CLIP-T", "PSNR", "metrics", "evaluate")
    side_effects: ClassVar[bool] = True

    clip: ModelReference = BUNDLED_CLIP
    """The CLIP that judges: `loom-emoji`, the small one that comes with the program, or a folder; ViT-L/14 is usual."""
    prompt_words: Annotated[Prompt, AfterValidator(checked_meanings)] = ""
    """For CLIP-T, what new words mean, one per line: `<fox>=fox`. A word in angle brackets that is not listed is left out."""
    psnr: bool = False
    """Compare pixels too: each row's pictures with the references, in order; numbers and sizes must agree."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        folder = files.resolve(clip_reference(self.clip))
        clip_folders(folder)
        return files.digest_folder(clip_reference(self.clip), identifying(folder))

    def check(self, wired: Wired) -> None:
        if self.psnr and not wired["references"]:
            raise _nothing_to_compare()

    def run(self, images: list[ImageSet], context: RunContext, references: ImageDataset | None = None) -> Scores:
        rows = _rows(images)
        if self.psnr:
            _check_pairs(rows, references)
        judge, scored = Judge(references, meanings(self.prompt_words), self.psnr, context), list[ScoreRow]()
        shared = [self.version, context.fingerprint, self.prompt_words, self.psnr, references and asdict(references)]
        for number, row in enumerate(rows, 1):
            facts = [*shared, [(image.file, image.prompt) for image in row]]
            found = remembered(facts, row[0].label, lambda row=row: judge.measure(row), context)
            scored.append(found)
            context.metric(number, **dict(found.values))
            values = ", ".join(f"{SHOWN[name]} {value:.3f}" for name, value in found.values)
            context.message(f"{found.label}: {values or 'nothing to measure'}.")
            context.progress(number, len(rows))
        return Scores(tuple(scored))


def _nothing_to_compare() -> InputError:
    remedy = "Wire LoadImages to it, or turn psnr off."
    return InputError("there is nothing to compare pixels with.", field="references", remedy=remedy)


def _rows(images: Sequence[ImageSet]) -> list[tuple[GeneratedImage, ...]]:
    return [part.images[start : start + part.columns] for part in images for start in range(0, len(part.images), part.columns)]


def _check_pairs(rows: Sequence[Sequence[GeneratedImage]], references: ImageDataset | None) -> None:
    if references is None:
        raise _nothing_to_compare()
    count = len(references.pictures)
    for row in rows:
        if len(row) != count:
            message = f"the numbers of pictures differ: {row[0].label} has {len(row)} and the references have {count}."
            raise InputError(message, field="references", remedy="Draw one picture for each, or turn psnr off.")
