"""What the methods share around the loop: which inputs fit together, what is reported, where the result goes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from graph_runtime.context import RunContext
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import token_limit
from nodes.diffusion.handles.adapters import Adapter, LowRankAdapter
from nodes.diffusion.handles.datasets import CaptionedDataset, EmbeddingDataset, LatentDataset
from nodes.diffusion.handles.models import DiffusionModel, ImageVariationModel, text_identity
from nodes.diffusion.handles.noise_checks import check_noise_settings
from nodes.diffusion.handles.settings import DenoisingSettings
from nodes.diffusion.text.prompt_syntax import Emphasis
from nodes.methods.costs import Costs
from nodes.methods.more_steps import checkpoint_of
from nodes.methods.reports import report_step

PREVIEW_CAPTIONS = 2
"""Captions that previews show when no prompts are set."""
if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from nodes.diffusion.training import Task

Texts = EmbeddingDataset | CaptionedDataset

WATCHING = frozenset({"preview_every", "preview_prompt", "validation_every", "checkpoint_every"})
"""Fields of a training that cannot change its result."""


@dataclass(frozen=True)
class Prompts:
    """What previews show, and what brackets in it mean."""

    texts: tuple[str, ...] = ()
    emphasis: Emphasis = "none"


def train_untrained(
    settings: DenoisingSettings,
    model: DiffusionModel,
    texts: Texts,
    context: RunContext,
    make_task: Callable[["diffusion.models.ActiveModel", DenoisingSettings], "Task"],
) -> tuple[DiffusionModel, str]:
    """Train every adapter of a model that is not trained yet; return the model with their weights, and the precision used.

    `make_task` gets the model in memory and the settings as they hold for it, and returns the loss on `texts`.
    """

    check_noise_settings(settings, model.prediction_type)
    device = diffusion.choose_device(context.device)
    precision = diffusion.training_precision(device, settings.precision)
    model = replace(model, zero_terminal_snr=model.zero_terminal_snr or settings.zero_terminal_snr)
    with diffusion.adapters.model_in_use(
        model, context.locate, device=device, precision=diffusion.resident_precision(device, precision)
    ) as loaded:
        _check_cuts(texts, loaded, context)
        task = make_task(loaded, settings_for(settings, model))
        new = [number for number, adapter in enumerate(model.adapters) if adapter.weights is None]
        parameters = {
            f"{number}.{name}": tensor
            for number in new
            for name, tensor in _reached(model.adapters[number], loaded.applied[number], loaded, context).items()
        }
        costs = Costs(type(settings).__name__, settings.max_steps, context.progress_folder, device)
        prompts = preview_prompts(settings, texts)
        if settings.preview_every and not prompts.texts:
            context.message("no previews: preview_prompt is empty, and so are all captions.", "warning")
        report = _reporter(settings, context, task, costs, prompts)
        checkpoint = checkpoint_of(settings, context, precision, costs)
        trained = diffusion.training.train(task, parameters, settings, precision=precision, report=report, checkpoint=checkpoint)
    adapters = list(model.adapters)
    for number in new:
        own = {name.removeprefix(f"{number}."): tensor for name, tensor in trained.items() if name.startswith(f"{number}.")}
        adapters[number] = _finished(adapters[number], own, context)
    costs.keep([adapters[number].weights for number in new], context)
    return replace(model, adapters=tuple(adapters)), precision


def _reached(
    adapter: Adapter, applied: dict[str, "Parameter"], loaded: "diffusion.models.ActiveModel", context: RunContext
) -> dict[str, "Parameter"]:
    """An adapter's tensors but for those in layers of text encoders whose output nothing uses; files of others have such."""
    if not isinstance(adapter, LowRankAdapter) or adapter.start is None:
        return applied

    parts = {name: name.partition(".") for name in applied}
    unused = [name for name, (part, _, inner) in parts.items() if diffusion.adapters.is_unused(inner, part, loaded)]
    if unused:
        message = (
            f"{len(unused)} tensors stay as they are, such as {unused[0]}: the model does not use the output of their layers."
        )
        context.message(message)
    return {name: tensor for name, tensor in applied.items() if name not in unused}


def _finished(adapter: Adapter, tensors: dict[str, "Tensor"], context: RunContext) -> Adapter:
    """An adapter with its trained tensors, and with what training left alone of those that it went on from, such as alphas."""
    if adapter.start is None:
        return replace(adapter, weights=keep_tensors(tensors, context))
    from safetensors.torch import load_file

    whole = load_file(adapter.start) | tensors
    return replace(adapter, weights=keep_tensors(whole, context), start=None)


def settings_for(settings: DenoisingSettings, model: DiffusionModel | ImageVariationModel) -> DenoisingSettings:
    """Return the settings; a model without signal at its last timestep goes on being trained so."""
    return settings.model_copy(update={"zero_terminal_snr": True}) if model.zero_terminal_snr else settings


def _check_cuts(texts: Texts, loaded: "diffusion.models.ActiveModel", context: RunContext) -> None:
    """Warn of captions that are cut, and raise InputError when a new word of theirs is."""
    if not isinstance(texts, CaptionedDataset):
        return

    captions = list(dict.fromkeys(caption for variants in texts.captions for caption in variants))
    for caption in captions:
        if lost := diffusion.text.cut_words(loaded, caption, texts.emphasis):
            remedy = "Write it earlier, shorten the captions, take fewer vectors, or raise max_token_length of LoadModel."
            raise InputError(f"{lost} does not fit into the caption {caption[:80]!r}.", field="captions", remedy=remedy)
    if cut := diffusion.families.cut_prompts(loaded, captions, texts.emphasis):
        context.message(
            diffusion.text.cut_warning("captions", cut, token_limit(loaded.handle.family, loaded.handle.max_token_length)),
            "warning",
        )


def keep_tensors(tensors: dict[str, "Tensor"], context: RunContext) -> Path:
    """Keep tensors as a file of the cache, in the order of their names."""
    from safetensors.torch import save_file

    ordered = {name: tensors[name].contiguous() for name in sorted(tensors)}
    return context.add_file(".safetensors", lambda path: save_file(ordered, path))


def _reporter(
    settings: DenoisingSettings,
    context: RunContext,
    task: "Task",
    costs: Costs,
    prompts: Prompts,
) -> Callable[["diffusion.optimization.StepDone"], None]:
    """Return what happens after each step: numbers, validation, previews, and the chance to stop."""

    def report(done: "diffusion.optimization.StepDone") -> None:
        costs.after_step()
        report_step(done, settings, context)
        last = done.step == settings.max_steps
        if task.validation and (last or done.step % settings.validation_every == 0):
            with done.trainer.weights_for_use(), done.trainer.autocast():
                context.metric(done.step, validation_loss=task.validation_loss(context.stop_if_asked))
        if prompts.texts and (last or done.step % settings.preview_every == 0):
            with done.trainer.weights_for_use(), done.trainer.autocast():
                _preview(done.step, prompts, settings, task, context)
        costs.resume()

    return report


def preview_prompts(settings: DenoisingSettings, texts: Texts) -> Prompts:
    """Return what previews show: the prompts that are set, else a few captions, as a person would see them learned."""
    if not settings.preview_every:
        return Prompts()
    if given := tuple(line.strip() for line in settings.preview_prompt.splitlines() if line.strip()):
        return Prompts(given, "a1111")
    every = texts.captions if isinstance(texts, CaptionedDataset) else [item.captions for item in texts.items]
    captions = list(dict.fromkeys(variants[0].strip() for variants in every if variants and variants[0].strip()))
    spread = range(0, len(captions), max(1, len(captions) // PREVIEW_CAPTIONS))
    return Prompts(tuple(captions[index] for index in spread)[:PREVIEW_CAPTIONS], texts.emphasis)


def _preview(step: int, prompts: Prompts, settings: DenoisingSettings, task: "Task", context: RunContext) -> None:
    """Show the model's pictures of the prompts; an error in a prompt becomes a message and does not end the training."""
    try:
        pictures = diffusion.sampling.sample(
            task.model,
            prompts.texts,
            seeds=[settings.seed] * len(prompts.texts),
            emphasis=prompts.emphasis,
            on_step=lambda step: context.stop_if_asked(),
        )
    except InputError as error:
        context.message(f"no preview at step {step}: {error}", "warning")
        return
    context.preview(
        step, context.add_file(".png", lambda path: diffusion.pictures.save_png(diffusion.pictures.in_a_row(pictures), path))
    )


def check_trained(adapters: Sequence[Adapter]) -> None:
    """Raise InputError when something under what is to be trained has itself not been trained."""
    if any(adapter.weights is None for adapter in adapters):
        remedy = "Train what was attached first, before this node."
        raise InputError("this model has something attached that is not trained.", field="model", remedy=remedy)


def choose_texts(
    before: DiffusionModel,
    embeddings: EmbeddingDataset | None,
    captions: CaptionedDataset | None,
    *,
    text_changes: bool,
    prefix: str = "",
) -> Texts:
    """Choose what the text comes from; embeddings would go stale while the training changes how text is encoded.

    `before` is the model without what is to be trained; `prefix` begins the names of the inputs in errors.
    """
    check_texts_are_there(embeddings, captions, text_changes=text_changes, prefix=prefix)
    if text_changes and captions:
        return captions
    assert embeddings
    if embeddings.text_digest != text_identity(before):
        remedy = "Wire EncodeCaptions to the same model, with the same clip_skip and max_token_length."
        raise InputError("these embeddings were made by another text encoder.", field=f"{prefix}embeddings", remedy=remedy)
    return embeddings


def check_texts_are_there(embeddings: object, captions: object, *, text_changes: bool, prefix: str = "") -> None:
    """Raise InputError when the one of the two that the training needs is missing."""
    if text_changes and not captions:
        remedy = f"Wire captions to `{prefix}captions`: this training changes how text is encoded."
        raise InputError("the captions are missing.", field=f"{prefix}captions", remedy=remedy)
    if not text_changes and not embeddings:
        remedy = f"Wire EncodeCaptions to `{prefix}embeddings`: this training does not change how text is encoded."
        raise InputError("the text embeddings are missing.", field=f"{prefix}embeddings", remedy=remedy)


def check_class_latents(latents: object) -> None:
    """Raise InputError when a training that keeps the class as it was has no pictures of it."""
    if not latents:
        remedy = "Wire GenerateClassImages through EncodeLatents to it, or set prior_loss_weight to 0."
        raise InputError("the class pictures are missing.", field="class_latents", remedy=remedy)


def check_pairs(model: DiffusionModel, latents: LatentDataset, texts: Texts, prefix: str = "") -> None:
    """Raise InputError unless latents and texts are of the same pictures, and the latents of the model's VAE."""
    check_vae(model, latents, prefix)
    items = texts.pictures if isinstance(texts, CaptionedDataset) else texts.items
    if [item.name for item in items] != [item.name for item in latents.items]:
        field = "captions" if isinstance(texts, CaptionedDataset) else "embeddings"
        remedy = "Wire latents and captions from the same LoadImages."
        raise InputError("latents and captions are of different pictures.", field=f"{prefix}{field}", remedy=remedy)


def check_vae(model: DiffusionModel, latents: LatentDataset, prefix: str = "") -> None:
    """Raise InputError unless the latents were made by the model's VAE."""
    if latents.vae_digest != model.vae_digest:
        remedy = "Wire EncodeLatents to the same model."
        raise InputError("these latents were made by another VAE.", field=f"{prefix}latents", remedy=remedy)
