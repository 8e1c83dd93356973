"""GenerateClassImages."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field

from graph_runtime.context import RunContext
from graph_runtime.migration import Migration
from graph_runtime.node import Node
from nodes import diffusion
from nodes.diffusion.handles.datasets import CaptionedDataset, Picture, View
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.prompt_checks import unread_weights_warning, without_networks
from nodes.methods.training import check_trained


def _not_blank(prompt: str) -> str:
    if not prompt.strip():
        raise ValueError("a prompt is needed, such as: a photo of a dog")
    return prompt


class GenerateClassImages(Node):
    """Let the model draw pictures of a class, such as dogs, that a training of one dog is to keep as they are.

    The pictures come with the prompt as their caption, ready for EncodeLatents and EncodeCaptions.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("regularization images", "reg images", "prior preservation", "DreamBooth")
    migrations: ClassVar[Mapping[int, Migration]] = {0: Migration(inputs={"prompt": "class_prompt", "count": "num_class_images"})}

    class_prompt: Annotated[str, AfterValidator(_not_blank), AfterValidator(without_networks)] = "a photo of a dog"
    """What the class looks like, without the subject's rare word; several prompts, one per line, take turns."""
    num_class_images: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Pictures; 100 to 300 are usual."""
    seed: Annotated[int, Field(ge=0, lt=2**62)] = 0
    """Chooses the first noise; each further picture takes the next number."""
    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] = 20
    """Denoising steps."""
    guidance_scale: Annotated[float, Field(ge=1, le=50)] = 5.0
    """How strictly the prompt is followed."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    """Pictures drawn at once; less needs less memory. On a GPU no more are than its free memory holds."""

    def run(self, model: DiffusionModel, context: RunContext) -> CaptionedDataset:
        check_trained(model.adapters)
        prompts = [line.strip() for line in self.class_prompt.splitlines() if line.strip()]
        if warning := unread_weights_warning("prompts", prompts):
            context.message(warning, "warning")
        jobs = [(prompts[number % len(prompts)], self.seed + number) for number in range(self.num_class_images)]
        pictures: list[Picture] = []
        for start in range(0, self.num_class_images, self.batch_size):
            batch = jobs[start : start + self.batch_size]
            key = self._key(model, batch)
            kept = context.find_item(key)
            if kept is None:
                kept = self._draw(model, batch, context)
                context.keep_item(key, kept)
            pictures += [_picture(file, job, model.resolution) for file, job in zip(kept, batch, strict=True)]
            context.progress(len(pictures), self.num_class_images)
        return CaptionedDataset(tuple(pictures), captions=tuple((prompt,) for prompt, _ in jobs))

    def _key(self, model: DiffusionModel, batch: list[tuple[str, int]]) -> str:
        """Everything that a batch of pictures depends on: an interrupted drawing goes on with the next batch."""
        adapters = [repr(replace(a, weights=a.weights and Path(a.weights.name))) for a in model.adapters]
        weights = [model.digest, model.prediction_type, model.moving_average]
        identity = [self.version, *weights, model.clip_skip, model.max_token_length, model.zero_terminal_snr, adapters]
        settings = [self.num_inference_steps, self.guidance_scale, batch]
        return "class:" + hashlib.sha256(json.dumps([identity, settings]).encode()).hexdigest()

    def _draw(self, model: DiffusionModel, batch: list[tuple[str, int]], context: RunContext) -> list[Path]:
        device = diffusion.choose_device(context.device)
        with diffusion.adapters.model_in_use(model, context.locate, device=device) as loaded:
            drawn = diffusion.sampling.sample(
                loaded,
                [prompt for prompt, _ in batch],
                seeds=[seed for _, seed in batch],
                num_inference_steps=self.num_inference_steps,
                guidance_scale=self.guidance_scale,
                on_step=lambda step: context.stop_if_asked(),
            )
        return [context.add_file(".png", lambda path, p=picture: diffusion.pictures.save_png(p, path)) for picture in drawn]


def _picture(file: Path, job: tuple[str, int], side: int) -> Picture:
    view = View((side, side), (0, 0), (side, side))
    return Picture(file.stem, f"{job[1]}.png", side, side, (view,), job[0], file=file)
