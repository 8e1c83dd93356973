"""SampleImages."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Prompt
from nodes.diffusion.errors import InputError
from nodes.diffusion.values import DiffusionModel, GeneratedImage, ImageSet

PARAMETERS = (
    "{prompt}\nNegative prompt: {negative}\nSteps: {steps}, Sampler: {sampler}, CFG scale: {cfg}, Seed: {seed}, Size: {w}x{h}"
)


class SampleImages(Node):
    """Draw pictures. Several models draw the same prompts from the same noise, one row each: before and after."""

    prompts: Prompt = "a red apple"
    """What to draw, one prompt per line."""
    negative_prompt: Prompt = ""
    """What to stay away from."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses the first noise; each further picture of a prompt takes the next number."""
    images_per_prompt: Annotated[int, Field(ge=1, le=64)] = 1
    """Pictures of each prompt."""
    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] = 20
    """Denoising steps."""
    guidance_scale: Annotated[float, Field(ge=1, le=50)] = 5.0
    """How strictly the prompt is followed; 1 turns guidance off."""
    sampler: Literal["ddim", "euler", "euler ancestral", "dpm++ 2m"] = "dpm++ 2m"
    """How the noise is taken away."""
    width: Annotated[int, Field(ge=0, le=8192, multiple_of=8)] = 0
    """Width in pixels; 0 takes the model's own."""
    height: Annotated[int, Field(ge=0, le=8192, multiple_of=8)] = 0
    """Height in pixels; 0 takes the model's own."""
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    """Arithmetic of the model."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    """Pictures drawn at once; less needs less memory."""

    def run(self, models: list[DiffusionModel], context: RunContext) -> ImageSet:
        prompts = [line.strip() for line in self.prompts.splitlines() if line.strip()]
        if not prompts:
            raise InputError("there is no prompt.", field="prompts", remedy="Write one per line.")
        if any(adapter.weights is None for model in models for adapter in model.adapters):
            raise InputError("a model has an adapter that is not trained.", field="models", remedy="Wire the trained model here.")
        jobs = [(prompt, self.seed + n) for prompt in prompts for n in range(self.images_per_prompt)]
        batches = [jobs[start : start + self.batch_size] for start in range(0, len(jobs), self.batch_size)]
        total, images = len(models) * len(batches) * self.num_inference_steps, list[GeneratedImage]()
        for model in models:
            for batch in batches:
                done = len(images) // max(len(jobs), 1) * len(batches) * self.num_inference_steps
                done += batches.index(batch) * self.num_inference_steps
                drawn = self._draw(model, batch, context, lambda step, done=done: context.progress(done + step, total))
                images += [self._kept(picture, model, job, context) for picture, job in zip(drawn, batch, strict=True)]
        return ImageSet(tuple(images), columns=len(jobs))

    def _draw(self, model: DiffusionModel, batch: list[tuple[str, int]], context: RunContext, on_step: Any) -> Any:
        from nodes.diffusion.devices import choose_device
        from nodes.diffusion.loading import load
        from nodes.diffusion.lora import applied
        from nodes.diffusion.sampling import sample

        loaded = load(model, context.locate(model.digest), device=choose_device(context.device), precision=self.precision)
        with applied(model.adapters, loaded):
            return sample(
                loaded,
                [prompt for prompt, _ in batch],
                seeds=[seed for _, seed in batch],
                negative_prompt=self.negative_prompt.strip(),
                num_inference_steps=self.num_inference_steps,
                guidance_scale=self.guidance_scale,
                size=(self.width or model.resolution, self.height or model.resolution),
                sampler=self.sampler,
                clip_skip=model.clip_skip,
                zero_terminal_snr=model.zero_terminal_snr,
                on_step=on_step,
            )

    def _kept(self, picture: Any, model: DiffusionModel, job: tuple[str, int], context: RunContext) -> GeneratedImage:
        from nodes.diffusion.pictures import save_png

        label = model.name + " + LoRA" * len(model.adapters)
        text = PARAMETERS.format(
            prompt=job[0],
            negative=self.negative_prompt.strip(),
            steps=self.num_inference_steps,
            sampler=self.sampler,
            cfg=self.guidance_scale,
            seed=job[1],
            w=picture.width,
            h=picture.height,
        )
        file = context.add_file(".png", lambda path: save_png(picture, path, {"parameters": text}))
        return GeneratedImage(file, label, *job)

    version: ClassVar[int] = 1
