"""Metadata of a merge's file: ModelSpec, and the recipe in AUTOMATIC1111's form."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

from nodes.diffusion.families.registry import known, latent_channels_at
from nodes.diffusion.formats.checkpoint_headers import Header, read_metadata
from nodes.diffusion.handles.adapters import LowRankAdapter
from nodes.diffusion.handles.recipes import Baked, Permuted, Pruned, Recipe, Source, name_of, sources_of
from nodes.diffusion.merging.methods import method_of
from nodes.diffusion.merging.plan import MergePlan

KEPT = ("latentloom.descriptions", "modelspec.prediction_type")
"""Metadata of the first input that readers need and that do not follow from the tensors."""
A1111_METHODS = {"weighted": "Weighted sum", "add difference": "Add difference"}
INPUT_NAMES = ("primary", "secondary", "tertiary")


def merge_metadata(plan: MergePlan, family: str, given: Mapping[str, str], precision: str) -> dict[str, str]:
    """Return the metadata; `given` holds the user's entries (title, author, ...); empty ones are left out."""
    first = next(sources_of(plan.recipe))
    side = first.resolution or (known()[family].resolution if family in known() else 0)
    spec = {
        "sai_model_spec": "1.0.1",
        "architecture": _architecture(plan, family),
        "implementation": "diffusers" if any(name.startswith("unet.") for name in plan.tensors) else "sgm",
        "title": name_of(plan.recipe),
        "merged_from": ", ".join(dict.fromkeys(source.name for source in plan.headers)),
        **({"resolution": f"{side}x{side}"} if side else {}),
        **{name: text for name, text in given.items() if text},
    }
    models = {source.digest: {"name": source.name, "legacy_hash": None, "sd_merge_recipe": None} for source in plan.headers}
    return {
        "format": "pt",
        **{name: text for name, text in _own_metadata(plan.headers[first], first).items() if name in KEPT},
        **{f"modelspec.{name}": text for name, text in spec.items()},
        "sd_merge_recipe": json.dumps({**recipe_json(plan.recipe), **_facts(plan, given, precision)}, sort_keys=True),
        "sd_merge_models": json.dumps(models, sort_keys=True),
    }


def _own_metadata(header: Header, source: Source) -> dict[str, str]:
    """Return the metadata of a checkpoint's own file, not of files with trained weights that replace some of its."""
    files = Counter(entry.file for entry in header.values() if entry.file not in source.changes)
    return read_metadata(files.most_common(1)[0][0]) if files else {}


def _facts(plan: MergePlan, given: Mapping[str, str], precision: str) -> dict[str, Any]:
    """Return the other entries of AUTOMATIC1111's recipe."""
    _, channels, latents = _input_layer(plan)
    return {
        "custom_name": given.get("title", ""),
        "save_as_half": precision == "fp16",
        "is_inpainting": bool(latents) and channels == 2 * latents + 1,
        "is_instruct_pix2pix": bool(latents) and channels == 2 * latents,
    }


def recipe_json(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe, in which an input is a hash, or its own recipe if it is a merge."""
    if isinstance(recipe, Source):
        return {"type": "latentloom", "interp_method": "No interpolation", "primary_model_hash": recipe.digest}
    if isinstance(recipe, Permuted):
        facts = {"reference": recipe.reference, "permutations": recipe.orders.stem}
        return {"type": "latentloom", "interp_method": "Rebasin", "primary_model_hash": _base_json(recipe), **facts}
    if isinstance(recipe, Pruned):
        return {"type": "latentloom", "interp_method": "Prune", "primary_model_hash": _base_json(recipe), "parts": recipe.parts}
    if isinstance(recipe, Baked):
        base = _base_json(recipe)
        loras = [_lora_json(lora) for lora in recipe.loras]
        return {"type": "latentloom", "interp_method": "Bake LoRA", "primary_model_hash": base, "loras": loras}
    inputs = [part.digest if isinstance(part, Source) else recipe_json(part) for part in recipe.inputs]
    named = {f"{name}_model_hash": value for name, value in zip(INPUT_NAMES, inputs, strict=False)}
    return {
        "type": "latentloom",
        **named,
        **({"further_model_hashes": inputs[3:]} if len(inputs) > 3 else {}),
        "interp_method": A1111_METHODS.get(recipe.method, recipe.method),
        "multiplier": recipe.weights[-1] if recipe.weights else 1.0,
        "weights": recipe.weights,
        **({"blocks": dict(recipe.blocks)} if recipe.blocks else {}),
        **{name: getattr(recipe, name) for name in ("density", "seed") if name in method_of(recipe).takes},
    }


def _base_json(recipe: Baked | Permuted | Pruned) -> str | dict[str, Any]:
    """Return the hash of the changed input, or its recipe."""
    return recipe.input.digest if isinstance(recipe.input, Source) else recipe_json(recipe.input)


def _lora_json(lora: LowRankAdapter) -> dict[str, Any]:
    """Return a LoRA's hash, of its tensors as they are applied to a model."""
    strengths = {"unet_strength": lora.unet_strength, "text_encoder_strength": lora.text_encoder_strength}
    return {"name": lora.name or lora.label, "hash": lora.weights and lora.weights.stem, **strengths}


def _architecture(plan: MergePlan, family: str) -> str:
    width, channels, _ = _input_layer(plan)
    published = known()[family].architecture_by_input(width, channels) if family in known() else ""
    return published or f"custom-{family}-{width}"


def _input_layer(plan: MergePlan) -> tuple[int, int, int]:
    """Return the output and input channels of the denoiser's first layer, and those of the latents; zeros without one."""
    for name, entry in plan.tensors.items():
        if latents := latent_channels_at(name):
            return entry.shape[0], entry.shape[1], latents
    return 0, 0, 0
