"""CompareMethods."""

from collections.abc import Sequence
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from graph_runtime.context import Artifact, RunContext
from graph_runtime.node import FileName, Json, ModelReference, Node, OutsideFiles, Prompt
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.clip_folders import BUNDLED_CLIP, clip_folders, clip_reference
from nodes.diffusion.formats.weight_files import identifying
from nodes.diffusion.handles.datasets import ImageDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.results import GeneratedImage, ImageSet
from nodes.evaluation.judge import Judge, checked_meanings, meanings
from nodes.evaluation.method_facts import MethodFacts, method_facts
from nodes.evaluation.report import html_report, markdown_report

Rows = list[tuple[GeneratedImage, ...]]


class CompareMethods(Node):
    """Write a report that sets methods side by side: what each trained, what it cost, how well it learned, what else it changed.

    Wire the untrained model first, and the pictures in the same order. Seconds and memory are those measured when each was
    trained, whenever that was.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("report", "benchmark", "comparison", "table", "metrics")
    side_effects: ClassVar[bool] = True
    version: ClassVar[int] = 2

    filename: FileName = "comparison"
    """Name of the folder with `report.html`, `report.md` and the pictures."""
    clip: ModelReference = BUNDLED_CLIP
    """The CLIP that judges: `loom-emoji`, the small one that comes with the program, or a folder; ViT-L/14 is usual."""
    prompt_words: Annotated[Prompt, AfterValidator(checked_meanings)] = ""
    """For CLIP-T, what new words mean, one per line: `<fox>=fox`. A word in angle brackets that is not listed is left out."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        folder = files.resolve(clip_reference(self.clip))
        clip_folders(folder)
        return files.digest_folder(clip_reference(self.clip), identifying(folder))

    def run(
        self,
        models: list[DiffusionModel],
        images: list[ImageSet],
        unrelated_images: list[ImageSet],
        references: ImageDataset,
        context: RunContext,
    ) -> tuple[Artifact, ...]:
        rows = _checked_rows(images, models, "images")
        unrelated = _checked_rows(unrelated_images, models, "unrelated_images")
        judge = Judge(references, meanings(self.prompt_words), psnr=False, context=context)
        facts: list[MethodFacts] = []
        for number, model in enumerate(models):
            scores = judge.measure(rows[number])
            drift = judge.distance(unrelated[number], unrelated[0])
            facts.append(method_facts(model, scores, drift, context))
            context.progress(number + 1, len(models))
        return (self._published(facts, rows, unrelated, context),)

    def _published(self, facts: Sequence[MethodFacts], rows: Rows, unrelated: Rows, context: RunContext) -> Artifact:
        shown = [
            diffusion.pictures.Row(
                fact.method, [image.prompt for image in row], [diffusion.pictures.open_picture(image.file) for image in row]
            )
            for fact, row in zip(facts, ([*one, *other] for one, other in zip(rows, unrelated, strict=True)), strict=True)
        ]
        grid = context.add_file(".png", lambda path: diffusion.pictures.save_png(diffusion.pictures.draw_grid(shown, 128), path))
        page = html_report(facts, grid.read_bytes(), context.provenance.text())
        html = context.add_file(".html", lambda path: path.write_text(page, encoding="utf-8"))
        text = markdown_report(facts, "pictures.png")
        markdown = context.add_file(".md", lambda path: path.write_text(text, encoding="utf-8"))
        return Artifact(self.filename, html, (("report.html", html), ("report.md", markdown), ("pictures.png", grid)))


def _checked_rows(images: Sequence[ImageSet], models: Sequence[DiffusionModel], field: str) -> Rows:
    """The pictures of each model, in the order of the models."""
    rows = [part.images[start : start + part.columns] for part in images for start in range(0, len(part.images), part.columns)]
    labels = [" + ".join([model.name, *(adapter.label for adapter in model.adapters)]) for model in models]
    if [row[0].label for row in rows] != labels:
        message = f"the rows of pictures are not those of the models: {', '.join(row[0].label for row in rows)}."
        raise InputError(message, field=field, remedy=f"Wire pictures of: {', '.join(labels)}, in this order.")
    if len({len(row) for row in rows}) > 1:
        remedy = "Draw the same prompts with every model."
        raise InputError("the models drew different numbers of pictures.", field=field, remedy=remedy)
    return rows
