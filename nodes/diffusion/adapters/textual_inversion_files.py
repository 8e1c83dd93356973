"""Files of trained words: kohya's safetensors, AUTOMATIC1111's .pt and diffusers' own."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.registry import check_method, facts, families
from nodes.diffusion.formats.file_formats import is_safetensors
from nodes.diffusion.formats.model_folders import info_of, read_config
from nodes.diffusion.formats.pickles import pt_bytes, read_pt
from nodes.diffusion.handles.adapters import TokenEmbedding
from nodes.diffusion.handles.models import DiffusionModel, Family

NO_WORD = ("_out", "lora_down.weight", "lora_up.weight", "lora_A.weight", "lora_B.weight")
"""Suffixes of tensors that are no vectors of a word: OneTrainer's second copy, and factors of a LoRA."""


def file_tensors(word: TokenEmbedding, family: Family, *, token: str | None = None) -> dict[str, Tensor]:
    """Return a word's vectors [k, d] float32 by the family's names in files, or by `token` if given."""
    vectors, names = word_vectors(word), facts(family).embedding_names
    return dict(zip(names if names[1:] else (token or names[0],), vectors, strict=True))


def word_vectors(word: TokenEmbedding) -> list[Tensor]:
    """Return a trained word's vectors [k, d], one tensor for each text encoder."""
    assert word.weights is not None
    return [tensor for _, tensor in sorted(load_file(word.weights).items())]


def usage_hint(word: TokenEmbedding, name: str) -> str:
    """Return how to use a word of DreamArtist; empty for others."""
    if not word.guidance_scale:
        return ""
    where = "in the negative prompt" if word.negative else f"with {name}-neg in the negative prompt"
    return f"Use {name} {where}, at guidance {word.guidance_scale:g}."


def a1111_embedding(word: TokenEmbedding, name: str, model: DiffusionModel, provenance: str) -> bytes:
    """Return AUTOMATIC1111's .pt, the same bytes for the same word, with entries that it ignores."""
    check_method(model.family, "A1111 embedding", field="layout")
    content = {
        "string_to_token": {"*": 265},
        "string_to_param": {"*": word_vectors(word)[0]},
        "name": name,
        "step": word.steps,
        "sd_checkpoint": model.digest[:10],
        "sd_checkpoint_name": model.name,
        "usage_hint": usage_hint(word, name),
        "optional_info": provenance,
    }
    return pt_bytes(content)


def read_vectors(path: Path) -> list[Tensor]:
    """Return the vectors [k, d] float32 in a file of any known layout, one tensor for each text encoder.

    Reads files of A1111, ComfyUI, kohya, OneTrainer and diffusers. A pickle is opened with `weights_only`, so no code in it
    runs.
    """
    return vectors_of(_named(_opened(path)), path.name)


def vectors_of(tensors: Mapping[str, Tensor], source: str) -> list[Tensor]:
    """Return the vectors [k, d] float32 among a word's tensors; `source` is their name in errors."""
    several = (family.embedding_names for family in families() if family.embedding_names[1:])
    if names := next((names for names in several if set(names) <= tensors.keys()), None):
        found = [tensors[name] for name in names]
    else:
        plain = {name: tensor for name, tensor in tensors.items() if not name.endswith(NO_WORD)}
        if len(plain) != 1:
            message = f"{source} holds {len(plain)} tensors where an embedding has one, or clip_l and clip_g."
            raise InputError(message, field="file", remedy="Choose a textual-inversion file.")
        found = list(plain.values())
    vectors = [tensor.detach().float().reshape(-1, tensor.shape[-1]) for tensor in found if tensor.dim() in (1, 2)]
    if not all(tensor.isfinite().all() for tensor in vectors):
        remedy = "Train it again with a lower learning rate: such numbers come from a training that diverged."
        raise InputError(f"{source} holds numbers that are not finite.", field="file", remedy=remedy)
    if len(vectors) < len(found) or not all(len(tensor) for tensor in vectors):
        raise InputError(f"{source} holds no vectors of tokens.", field="file", remedy="Choose a textual-inversion file.")
    return vectors


def bundled_tensors(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """Return the tensors of the words in a LoRA's file by word: `WORD.clip_l`, `WORD.string_to_param.*`, `WORD.emp_params`."""
    found: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        word, _, inner = name.replace(".string_to_param.", ".").rpartition(".")
        found.setdefault(word or inner, {})[inner] = tensor
    return found


def check_widths(vectors: Sequence[Tensor], model: DiffusionModel, folder: Path) -> None:
    """Raise InputError unless the vectors are as wide as the text encoders of the model in `folder`; no weights are read."""
    parts = [part for part in info_of(model, folder).text_parts if part.startswith("text_encoder")]
    own = [int(read_config(folder / part / "config.json")["hidden_size"]) for part in parts]
    widths = [tensor.shape[1] for tensor in vectors]
    if widths != own:
        found, wanted = (" and ".join(map(str, numbers)) for numbers in (widths, own))
        message = f"the embedding is {found} wide; this model takes {wanted}."
        raise InputError(message, field="file", remedy="Use it with a model of the family that it was trained on.")


def _opened(path: Path) -> Any:
    """Return the content of a file of any format."""
    if not is_safetensors(path):
        return read_pt(path, "an embedding")
    try:
        return load_file(path)
    except (OSError, SafetensorError):
        message = f"{path.name} cannot be read as an embedding."
        raise InputError(message, field="file", remedy="Choose another file.") from None


def _named(content: object) -> dict[str, Tensor]:
    """Return the tensors of a file by name; in A1111's they are one level down."""
    if isinstance(content, Mapping) and isinstance(content.get("string_to_param"), Mapping):
        content = content["string_to_param"]
    if isinstance(content, Tensor):
        return {"emb_params": content}
    if not isinstance(content, Mapping):
        return {}
    return {str(name): tensor for name, tensor in content.items() if isinstance(tensor, Tensor)}
