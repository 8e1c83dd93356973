"""What help texts and the guide say of other programs is what the one table says."""

from pathlib import Path
from typing import Any

import pytest

from nodes.adapters.inject_lora import InjectLoRA
from nodes.diffusion.adapters.hypernetwork.modules import ACTIVATIONS
from nodes.diffusion.formats.supporting_programs import FILES, PROGRAMS, table
from nodes.methods.train_hypernet import TrainHypernet
from nodes.output.save_custom_diffusion import SaveCustomDiffusion
from nodes.output.save_embedding import SaveEmbedding
from nodes.output.save_hypernetwork import SaveHypernetwork
from nodes.output.save_safetensors import SaveSafetensors

GUIDE = Path(__file__).parent.parent.parent / "docs" / "guides" / "files.md"
SAID: dict[Any, tuple[str, ...]] = {
    SaveSafetensors: ("lora", "loha", "dora", "diffusers"),
    InjectLoRA: ("loha", "dora"),
    SaveEmbedding: ("embedding", "embedding a1111", "embedding diffusers"),
    SaveHypernetwork: ("hypernetwork",),
    SaveCustomDiffusion: ("custom diffusion",),
}


@pytest.mark.parametrize("node", SAID, ids=lambda node: node.__name__)
def test_a_node_s_help_says_where_its_files_load(node: Any) -> None:
    schema = node.model_json_schema()
    texts = [schema["description"], *(field.get("description", "") for field in schema["properties"].values())]
    help_text = " ".join(" ".join(texts).split())
    for kind in SAID[node]:
        assert FILES[kind].sentence in help_text


def test_the_guide_has_the_table() -> None:
    assert table() in GUIDE.read_text(encoding="utf-8")
    assert all(len(file.readers) == len(PROGRAMS) for file in FILES.values())


def test_training_offers_only_activations_that_comfyui_knows() -> None:
    """Its loader has linear, relu, leakyrelu, elu, swish, tanh, sigmoid, softsign and mish, and takes no name for linear."""
    offered = TrainHypernet.model_json_schema()["properties"]["activation_func"]["enum"]
    assert set(offered) == {"linear", "relu", "leakyrelu", "elu", "swish", "tanh", "sigmoid", "softsign", "mish"}
    assert set(offered) < set(ACTIVATIONS)
