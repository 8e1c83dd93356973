"""MergeConcepts."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import AfterValidator

from graph_runtime.context import RunContext
from graph_runtime.node import Node, Prompt, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import KEYS_AND_VALUES, TokenEmbedding, WeightChange
from nodes.diffusion.handles.datasets import CaptionedDataset
from nodes.diffusion.handles.models import DiffusionModel
from nodes.methods.training import check_trained


def _not_blank(prompts: str) -> str:
    if not prompts.strip():
        raise ValueError("at least one prompt is needed, one per line, each with the word of one concept")
    return prompts


class MergeConcepts(Node):
    """Put concepts that were trained apart by custom diffusion into one model, in closed form and without training."""

    synonyms: ClassVar[tuple[str, ...]] = ("custom diffusion", "multi-concept", "compose", "combine")

    prompts: Annotated[Prompt, AfterValidator(_not_blank)]
    """What must come out as each model alone would draw it, one prompt per line, each with the new word of one model."""

    def check(self, wired: Wired) -> None:
        trained = [model for model in wired["models"] if type(model).__name__ == "TrainCustomDiffusion"]
        words = [str(getattr(model, "placeholder_token", "")).lower() for model in trained]
        if len(set(words)) < len(words):
            raise _same_word()

    def run(self, models: list[DiffusionModel], captions: CaptionedDataset, context: RunContext) -> DiffusionModel:
        """`captions` say what the merged model must otherwise keep: many different ones are best."""
        parts = [self._parts(model) for model in models]
        base = replace(models[0], adapters=())
        if any(replace(model, adapters=()) != base for model in models):
            remedy = "Train all of them on one model."
            raise InputError("the concepts were trained on different models.", field="models", remedy=remedy)
        if len({word.placeholder_token.lower() for _, word in parts}) < len(parts):
            raise _same_word()
        weights = self._merged(base, parts, captions, context)
        change = WeightChange(name="merged concepts", endings=parts[0][0].endings, weights=weights)
        return replace(base, adapters=(change, *(word for _, word in parts)))

    @staticmethod
    def _parts(model: DiffusionModel) -> tuple[WeightChange, TokenEmbedding]:
        """The two things that a custom diffusion consists of."""
        check_trained(model.adapters)
        match model.adapters:
            case (WeightChange(endings=endings) as change, TokenEmbedding() as word) if {*endings} == {*KEYS_AND_VALUES}:
                return change, word
            case _:
                remedy = "Wire the models as TrainCustomDiffusion returns them."
                raise InputError(f"{model.name} is no custom diffusion of one concept.", field="models", remedy=remedy)

    def _merged(
        self,
        base: DiffusionModel,
        parts: list[tuple[WeightChange, TokenEmbedding]],
        captions: CaptionedDataset,
        context: RunContext,
    ) -> Path:
        import torch
        from safetensors.torch import save_file

        device = diffusion.choose_device(context.device)
        kept = [variants[0] for variants in captions.captions]
        speaking = replace(base, adapters=tuple(word for _, word in parts))
        with torch.no_grad(), diffusion.adapters.model_in_use(speaking, context.locate, device=device) as loaded:
            features = diffusion.text.word_features(loaded, kept)
            targets = [
                diffusion.text.word_features(loaded, self._prompts_of(word), from_word=word.placeholder_token)
                for _, word in parts
            ]
            concepts = [
                diffusion.adapters.Concept(diffusion.adapters.tensors_of(change), target)
                for (change, _), target in zip(parts, targets, strict=True)
            ]
            own = {name: loaded.unet.get_parameter(name.removeprefix("unet.")) for name in concepts[0].weights}
        merged = diffusion.adapters.merge_concepts(
            {name: tensor.detach().float().cpu() for name, tensor in own.items()}, concepts, features
        )
        return context.add_file(".safetensors", lambda path: save_file(merged, path))

    def _prompts_of(self, word: TokenEmbedding) -> list[str]:
        lines = [line.strip() for line in self.prompts.splitlines() if diffusion.text.holds_word(line, word.placeholder_token)]
        if not lines:
            remedy = f"Write a line such as: photo of a {word.placeholder_token}"
            raise InputError(f"no prompt holds the word {word.placeholder_token!r}.", field="prompts", remedy=remedy)
        return lines


def _same_word() -> InputError:
    return InputError("two concepts have the same word.", field="models", remedy="Give each its own placeholder.")
