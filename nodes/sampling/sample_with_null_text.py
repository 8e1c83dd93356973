"""SampleWithNullText."""

from dataclasses import replace
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Prompt
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import AestheticGradient
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.prompt_checks import unread_weights_warning, without_networks
from nodes.diffusion.handles.results import GeneratedImage, ImageSet, Inversion, NullTextInversion

Share = Annotated[float, Field(ge=0, le=1)]


class SampleWithNullText(Node):
    """Draw an inverted picture again, and edits of it that keep its layout (Prompt-to-Prompt, Hertz et al. 2023).

    With an inversion straight from InvertDDIM it draws what guided DDIM makes of it, for comparison. The row holds the
    picture, what the VAE alone makes of it, the replay, and an edit for each prompt.
    """

    display_name: ClassVar[str] = "Sample with Null Text"
    synonyms: ClassVar[tuple[str, ...]] = ("prompt-to-prompt", "edit image", "real image editing", "replay")

    prompts: Annotated[Prompt, AfterValidator(without_networks)] = ""
    """Edits, one per line: the picture's prompt with words replaced or added. Empty draws the replay alone."""
    guidance_scale: Annotated[float, Field(ge=0, le=50)] = 0.0
    """How strictly the prompt is followed; 0 takes that of OptimizeNullText, or 7.5 without it."""
    cross_replace_steps: Share = 0.8
    """Share of the steps in which an edit looks for its words where the original does; less allows another shape."""
    self_replace_steps: Share = 0.5
    """Share of the steps in which an edit keeps the original's inner layout; less allows another shape."""
    show_original: bool = True
    """Put the picture and the VAE's round trip, which no replay can surpass, before the replay."""

    def run(self, model: DiffusionModel, inversion: Inversion, context: RunContext) -> ImageSet:
        if any(isinstance(adapter, AestheticGradient) for adapter in model.adapters):
            remedy = "Put ApplyAestheticGradient on another branch."
            raise InputError("null text has no place for an aesthetic gradient.", field="model", remedy=remedy)

        if warning := diffusion.sampling.check_model(inversion, model):
            context.message(warning, "warning")
        edits = [" ".join(line.split()) for line in self.prompts.splitlines() if line.strip()]
        known, drawn = self._draw(model, inversion, edits, context)
        if warning := unread_weights_warning("prompts", edits):
            context.message(warning, "warning")
        label = "null text" if isinstance(inversion, NullTextInversion) else "plain DDIM"
        if "picture" in known:
            label += f", {_compare(known, drawn[0], context):.1f} dB"
        shown = list(zip([inversion.prompt, *edits], drawn, strict=True))
        if self.show_original:
            shown = [*known.items(), *shown]
        images = tuple(_kept(picture, label, caption, context) for caption, picture in shown)
        return ImageSet(images, columns=len(images))

    def _draw(
        self, model: DiffusionModel, inversion: Inversion, edits: list[str], context: RunContext
    ) -> tuple[dict[str, Any], list[Any]]:
        """Return the picture and the VAE's round trip, as far as they are known, by caption; and the replay with the edits."""

        used, device = replace(model, zero_terminal_snr=inversion.zero_terminal_snr), diffusion.choose_device(context.device)
        known = {"picture": diffusion.pictures.open_picture(inversion.picture)} if inversion.picture else {}
        total = (1 + len(edits)) * inversion.num_inference_steps
        with diffusion.adapters.model_in_use(used, context.locate, device=device) as loaded:
            if cut := diffusion.families.cut_prompts(loaded, [inversion.prompt, *edits]):
                context.message(diffusion.text.cut_warning("prompts", cut, model.max_token_length), "warning")
            latents = diffusion.sampling.read_picture(inversion)
            if latents is not None:
                known["VAE round trip"] = diffusion.sampling.decode(loaded, latents.to(loaded.device))[0]
            return known, diffusion.sampling.replay_and_edit(
                loaded,
                inversion,
                edits,
                guidance_scale=self.guidance_scale or getattr(inversion, "guidance_scale", 7.5),
                cross_replace_steps=self.cross_replace_steps,
                self_replace_steps=self.self_replace_steps,
                on_step=lambda step: context.progress(step, total),
            )


def _compare(known: dict[str, Any], replayed: Any, context: RunContext) -> float:
    """Report how near replay and VAE come to the picture; return the replay's PSNR in dB."""

    found = {"replay": diffusion.pictures.psnr(known["picture"], replayed)}
    if "VAE round trip" in known:
        found["VAE round trip"] = diffusion.pictures.psnr(known["picture"], known["VAE round trip"])
    context.message("PSNR: " + ", ".join(f"{name} {value:.2f} dB" for name, value in found.items()) + ".")
    return found["replay"]


def _kept(picture: Any, label: str, caption: str, context: RunContext) -> GeneratedImage:

    return GeneratedImage(context.add_file(".png", lambda path: diffusion.pictures.save_png(picture, path)), label, caption, 0)
