"""SampleImages."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field

from graph_runtime.context import RunContext
from graph_runtime.node import Known, Node, Prompt, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.drawing_checks import check_known_drawing
from nodes.diffusion.families.registry import token_limit
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.prompt_checks import without_networks, without_schedules
from nodes.diffusion.handles.results import GeneratedImage, ImageSet
from nodes.diffusion.handles.wired_models import refuse_untrained

KNOWN_SAMPLERS = {"ddim": "DDIM", "euler": "Euler", "euler ancestral": "Euler a", "dpm++ 2m": "DPM++ 2M"}
"""Names of the samplers in AUTOMATIC1111."""
Job = tuple[str, int]
"""Prompt and seed."""


def _not_blank(prompts: str) -> str:
    if not prompts.strip():
        raise ValueError("at least one prompt is needed, one per line")
    return prompts


class SampleImages(Node):
    """Draw pictures. Several models draw the same prompts from the same noise, one row each: before and after."""

    synonyms: ClassVar[tuple[str, ...]] = ("KSampler", "txt2img", "generate", "prompt", "VAE decode")

    version: ClassVar[int] = 2

    prompts: Annotated[Prompt, AfterValidator(_not_blank), AfterValidator(without_networks)] = "a red apple"
    """What to draw, one prompt per line."""
    negative_prompt: Annotated[Prompt, AfterValidator(without_networks)] = ""
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
    """How the noise is taken away. For a rectified flow `ddim` and `euler` are the same, and `euler ancestral` is refused."""
    width: Annotated[int, Field(ge=0, le=8192, multiple_of=8)] = 0
    """Width in pixels; 0 takes the model's own."""
    height: Annotated[int, Field(ge=0, le=8192, multiple_of=8)] = 0
    """Height in pixels; 0 takes the model's own."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the model; `auto` is half precision on CUDA cards, of the kind that they are fast at, and fp32 elsewhere."""
    batch_size: Annotated[int, Field(ge=1, le=256)] = 8
    """Pictures drawn at once; less needs less memory. On a GPU no more are than its free memory holds."""
    prompt_weights: Literal["a1111", "comfyui", "none"] = "a1111"
    """What brackets in prompts mean. `a1111`: `(apple:1.4)` multiplies, `(apple)` by 1.1, `[apple]` by 1/1.1, `BREAK` begins the
    next 75 tokens, and the mean stays as it was. `comfyui`: the weight leads from the empty prompt through the word, and `[ ]`
    and `BREAK` are letters. `none`: all are letters, as always for a language model (Z-Image, FLUX.2). Brackets that are meant
    are written `\\(` and `\\)`."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["models"], "models")
        if self.prompt_weights == "a1111":
            without_schedules(self.negative_prompt, "negative_prompt")
            for prompt in self.prompts.splitlines():
                without_schedules(prompt)

    def check_known(self, known: Known) -> None:
        check_known_drawing(known["models"], self.sampler, (self.width, self.height))

    def run(self, models: list[DiffusionModel], context: RunContext) -> ImageSet:
        prompts = [line.strip() for line in self.prompts.splitlines() if line.strip()]
        if any(adapter.weights is None for model in models for adapter in model.adapters):
            raise InputError("a model has an adapter that is not trained.", field="models", remedy="Wire the trained model here.")
        jobs = [(prompt, self.seed + n) for prompt in prompts for n in range(self.images_per_prompt)]
        images, warned = list[GeneratedImage](), set[int]()
        for row, model in enumerate(models):
            images += self._row(model, jobs, (row, len(models)), warned, context)
        return ImageSet(tuple(images), columns=len(jobs))

    def _row(
        self, model: DiffusionModel, jobs: list[Job], place: tuple[int, int], warned: set[int], context: RunContext
    ) -> list[GeneratedImage]:
        """Draw every job with one model; `place` is its row and the number of rows, `warned` the lengths at which was cut."""

        batches = [jobs[start : start + self.batch_size] for start in range(0, len(jobs), self.batch_size)]
        device = diffusion.choose_device(context.device)
        precision = diffusion.drawing_precision(device, self.precision)
        total = place[1] * len(batches) * self.num_inference_steps
        images: list[GeneratedImage] = []
        with diffusion.adapters.model_in_use(model, context.locate, device=device, precision=precision) as loaded:
            texts = [self.negative_prompt, *(prompt for prompt, _ in jobs)]
            cut = diffusion.families.cut_prompts(loaded, texts, self.prompt_weights)
            if cut and model.max_token_length not in warned:
                limit = token_limit(model.family, model.max_token_length)
                context.message(diffusion.text.cut_warning("prompts", cut, limit), "warning")
                warned.add(model.max_token_length)
            for number, batch in enumerate(batches):
                done = (place[0] * len(batches) + number) * self.num_inference_steps
                drawn = self._draw(loaded, model, batch, lambda step, done=done: context.progress(done + step, total))
                images += [self._kept(picture, model, job, context) for picture, job in zip(drawn, batch, strict=True)]
            if loaded.aesthetic:
                _report_cosines(loaded.aesthetic.cosines, context)
        return images

    def _draw(self, loaded: "diffusion.models.ActiveModel", model: DiffusionModel, batch: list[Job], on_step: Any) -> Any:
        return diffusion.sampling.sample(
            loaded,
            [prompt for prompt, _ in batch],
            seeds=[seed for _, seed in batch],
            negative_prompt=self.negative_prompt.strip(),
            num_inference_steps=self.num_inference_steps,
            guidance_scale=self.guidance_scale,
            size=(self.width or model.resolution, self.height or model.resolution),
            sampler=self.sampler,
            emphasis=self.prompt_weights,
            on_step=on_step,
        )

    def _kept(self, picture: Any, model: DiffusionModel, job: Job, context: RunContext) -> GeneratedImage:
        label = " + ".join([model.name, *(adapter.label for adapter in model.adapters)])
        texts = {"parameters": self._parameters(job, picture.size, label)}
        file = context.add_file(".png", lambda path: diffusion.pictures.save_png(picture, path, texts))
        return GeneratedImage(file, label, *job)

    def _parameters(self, job: Job, size: tuple[int, int], label: str) -> str:
        """The settings as AUTOMATIC1111 writes and reads them."""
        negative = self.negative_prompt.strip()
        facts = {
            "Steps": self.num_inference_steps,
            "Sampler": KNOWN_SAMPLERS[self.sampler],
            "CFG scale": self.guidance_scale,
            "Seed": job[1],
            "Size": f"{size[0]}x{size[1]}",
            "Model": label,
        }
        settings = ", ".join(f"{name}: {value}" for name, value in facts.items())
        return "\n".join([job[0], *([f"Negative prompt: {negative}"] if negative else []), settings])


def _report_cosines(cosines: dict[str, tuple[float, float]], context: RunContext) -> None:
    """Say how much nearer to the aesthetic the prompts came."""
    before, after = (sum(values) / len(cosines) for values in zip(*cosines.values(), strict=True))
    context.message(f"cosine to the aesthetic, mean of {len(cosines)} prompts: {before:.3f} before, {after:.3f} after.")
