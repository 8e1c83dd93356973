"""ScoreImages."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator

from graph_runtime.context import RunContext
from graph_runtime.node import Json, ModelReference, Node, OutsideFiles, Prompt
from nodes.diffusion.clip_folders import BUNDLED_CLIP, CLIP_FILES, clip_folders, clip_reference
from nodes.diffusion.errors import InputError
from nodes.diffusion.values import GeneratedImage, ImageDataset, ImageSet, ScoreRow, Scores

SHOWN = {"clip_i": "CLIP-I", "clip_t": "CLIP-T", "psnr": "PSNR"}


def _meanings(lines: str) -> dict[str, str]:
    pairs = [line.partition("=") for line in lines.splitlines() if line.strip()]
    return {placeholder.strip(): words.strip() for placeholder, _, words in pairs}


def _checked_lines(lines: str) -> str:
    if any("=" not in line or not line.partition("=")[0].strip() for line in lines.splitlines() if line.strip()):
        raise ValueError("each line is a placeholder, an equals sign and what it means, such as <fox>=fox")
    return lines


class ScoreImages(Node):
    """Measure drawn pictures, each row by itself: how like the references they are, and how well they show their prompts.

    CLIP-I is the mean cosine of the image embeddings of all pairs of picture and reference, CLIP-T that of each picture and its
    prompt, PSNR (dB) compares pixels. Numbers of different CLIPs cannot be compared.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("CLIP score", "CLIP-I", "CLIP-T", "PSNR", "metrics", "evaluate")

    clip: ModelReference = BUNDLED_CLIP
    """The CLIP that judges: `loom-emoji`, the small one that comes with the program, or a folder; ViT-L/14 is usual."""
    prompt_words: Annotated[Prompt, AfterValidator(_checked_lines)] = ""
    """For CLIP-T, what new words mean, one per line: `<fox>=fox`. A word in angle brackets that is not listed is left out."""
    psnr: bool = False
    """Compare pixels too: each row's pictures with the references, in order; numbers and sizes must agree."""

    def fingerprint(self, files: OutsideFiles) -> Json:
        clip_folders(files.resolve(clip_reference(self.clip)))
        return files.digest_folder(clip_reference(self.clip), CLIP_FILES)

    def run(self, images: list[ImageSet], context: RunContext, references: ImageDataset | None = None) -> Scores:
        if self.psnr and references is None:
            raise InputError("there is nothing to compare pixels with.", field="references", remedy="Wire LoadImages to it.")
        from nodes.diffusion.clip_images import load_image_embedder
        from nodes.diffusion.clip_texts import load_text_embedder
        from nodes.diffusion.devices import choose_device
        from nodes.diffusion.pictures import open_picture

        clip, device = clip_folders(context.locate(context.fingerprint)), choose_device(context.device)
        embed = load_image_embedder(clip.image_encoder, clip.feature_extractor, device)
        embed_text = load_text_embedder(clip, device)
        shown = _shown(references, context) if references else []
        rows = _rows(images)
        if self.psnr:
            _check_pairs(rows, len(shown))
        done, total = 0, len(shown) + sum(map(len, rows))

        def embedded(pictures: Sequence[Any]) -> Any:
            nonlocal done
            found: list[Any] = []
            for picture in pictures:
                found.append(embed(picture))
                done += 1
                context.progress(done, total)
            return found

        wanted, scored = embedded(shown), list[ScoreRow]()
        for number, row in enumerate(rows, 1):
            pictures = [open_picture(image.file) for image in row]
            values = self._measured(row, pictures, embedded(pictures), shown, wanted, embed_text)
            scored.append(ScoreRow(row[0].label, tuple(values.items())))
            context.metric(number, **values)
            text = ", ".join(f"{SHOWN[name]} {value:.3f}" for name, value in values.items())
            context.message(f"{row[0].label}: {text or 'nothing to measure'}.")
        return Scores(tuple(scored))

    def _measured(
        self,
        row: Sequence[GeneratedImage],
        pictures: list[Any],
        found: list[Any],
        shown: list[Any],
        wanted: list[Any],
        embed_text: Any,
    ) -> dict[str, float]:
        """The numbers of one row, by name."""
        import torch

        from nodes.diffusion.scores import clip_i, clip_t, in_known_words, mean_psnr

        values: dict[str, float] = {}
        if wanted:
            values["clip_i"] = clip_i(torch.stack(found), torch.stack(wanted))
        prompts = [in_known_words(image.prompt, _meanings(self.prompt_words)) for image in row]
        told = [number for number, prompt in enumerate(prompts) if prompt]
        if told:
            texts = {prompt: embed_text(prompt) for prompt in dict.fromkeys(prompts[number] for number in told)}
            values["clip_t"] = clip_t(
                torch.stack([found[number] for number in told]), torch.stack([texts[prompts[number]] for number in told])
            )
        if self.psnr:
            sizes = {picture.size for picture in (*pictures, *shown)}
            if len(sizes) > 1:
                raise InputError(
                    f"the pictures differ in size: {', '.join(f'{w} x {h}' for w, h in sorted(sizes))}.",
                    field="references",
                    remedy="Load the references at the resolution of the pictures.",
                )
            values["psnr"] = mean_psnr(pictures, shown)
        return values


def _rows(images: Sequence[ImageSet]) -> list[tuple[GeneratedImage, ...]]:
    return [part.images[start : start + part.columns] for part in images for start in range(0, len(part.images), part.columns)]


def _shown(references: ImageDataset, context: RunContext) -> list[Any]:
    """The references as they are shown to the model."""
    from nodes.diffusion.pictures import open_picture, render

    return [
        render(open_picture(p.file or context.locate(p.digest), references.background, p.name), p.views[0])
        for p in references.pictures
    ]


def _check_pairs(rows: Sequence[Sequence[GeneratedImage]], references: int) -> None:
    for row in rows:
        if len(row) != references:
            message = f"{row[0].label} has {len(row)} pictures where there are {references} references."
            raise InputError(message, field="references", remedy="Draw one picture for each, or turn psnr off.")
