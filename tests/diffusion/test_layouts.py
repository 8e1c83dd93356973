"""Names in folders and in single files: against published key sets, and against diffusers' own converter."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_ldm_clip_checkpoint,
    convert_ldm_unet_checkpoint,
    convert_ldm_vae_checkpoint,
    convert_open_clip_checkpoint,
)
from safetensors.torch import save_file
from transformers import CLIPTokenizer

from nodes.diffusion.families.protocol import Counterpart
from nodes.diffusion.families.registry import facts
from nodes.diffusion.families.stable_diffusion.facts import SD1, SD2, SDXL
from nodes.diffusion.families.vocabularies.clip import tokenizer_files
from nodes.diffusion.formats.single_file.checkpoint_tensors import of_folder
from nodes.diffusion.formats.single_file.configurations import own_descriptions
from nodes.diffusion.formats.single_file.header import read_single_file
from tests.models import fresh_model, make_model_folder
from tests.published import empty_parts, single_file

FAMILIES = ["sd1", "sd2", "sdxl"]
ENCODERS = {family.name: family.encoder_names for family in (SD1, SD2, SDXL)}
COUNTS = {"sd1": 1131, "sd2": 1228, "sdxl": 2515}
"""Weights in the published files, without the noise schedule that some hold besides."""
KNOWN = {
    "sd1": {
        "model.diffusion_model.input_blocks.0.0.weight": (320, 4, 3, 3),
        "model.diffusion_model.input_blocks.1.1.proj_in.weight": (320, 320, 1, 1),
        "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight": (320, 768),
        "model.diffusion_model.input_blocks.3.0.op.weight": (320, 320, 3, 3),
        "model.diffusion_model.output_blocks.2.1.conv.weight": (1280, 1280, 3, 3),
        "model.diffusion_model.output_blocks.5.2.conv.weight": (1280, 1280, 3, 3),
        "model.diffusion_model.output_blocks.11.0.skip_connection.weight": (320, 640, 1, 1),
        "first_stage_model.encoder.mid.attn_1.q.weight": (512, 512, 1, 1),
        "first_stage_model.decoder.up.1.block.0.nin_shortcut.weight": (256, 512, 1, 1),
        "first_stage_model.quant_conv.weight": (8, 8, 1, 1),
        "cond_stage_model.transformer.text_model.embeddings.position_ids": (1, 77),
        "cond_stage_model.transformer.text_model.encoder.layers.11.mlp.fc1.weight": (3072, 768),
    },
    "sd2": {
        "model.diffusion_model.input_blocks.1.1.proj_in.weight": (320, 320),
        "model.diffusion_model.input_blocks.2.1.transformer_blocks.0.attn2.to_k.weight": (320, 1024),
        "cond_stage_model.model.transformer.resblocks.23.attn.in_proj_weight": (3072, 1024),
        "cond_stage_model.model.transformer.resblocks.0.mlp.c_fc.bias": (4096,),
        "cond_stage_model.model.positional_embedding": (77, 1024),
        "cond_stage_model.model.text_projection": (1024, 1024),
        "cond_stage_model.model.logit_scale": (),
    },
    "sdxl": {
        "model.diffusion_model.label_emb.0.0.weight": (1280, 2816),
        "model.diffusion_model.middle_block.1.transformer_blocks.9.attn2.to_v.weight": (1280, 2048),
        "model.diffusion_model.output_blocks.2.2.conv.weight": (1280, 1280, 3, 3),
        "conditioner.embedders.0.transformer.text_model.embeddings.position_ids": (1, 77),
        "conditioner.embedders.1.model.transformer.resblocks.31.attn.in_proj_bias": (3840,),
        "conditioner.embedders.1.model.text_projection": (1280, 1280),
        "conditioner.embedders.1.model.logit_scale": (),
    },
}


@pytest.mark.parametrize("family", FAMILIES)
def test_key_sets_and_shapes_are_the_published_ones(family: Any) -> None:
    written = single_file(family)
    assert len(written) == COUNTS[family]
    assert {name: written[name].shape for name in KNOWN[family]} == KNOWN[family]
    positions = [name for name in written if name.endswith("position_ids")]
    assert all(written[name].dtype == torch.int64 for name in positions)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_name_comes_back(family: Any) -> None:
    parts = empty_parts(family)
    names = [f"{part}.{name}" for part, module in parts.items() for name in module.state_dict()]
    naming = facts(family).tensor_names(names)
    found = {name: naming.to_file(name) for name in names}
    assert facts(family).tensor_names([own.name for own in found.values() if own]) == naming
    for name, own in found.items():
        assert own is not None
        back = [Counterpart(_flat(one.name), one.conversion) for one in naming.to_folder(own.name)]
        assert Counterpart(_flat(name), own.conversion) in back


def _flat(name: str) -> str:
    return name.replace(".text_model.", ".")


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_own_converter_reads_full_size_names(family: Any) -> None:
    _same_as_converted({name: own.tensor() for name, own in single_file(family).items()}, empty_parts(family), family)


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_own_converter_reads_the_same_numbers(tmp_path: Path, family: Any) -> None:
    model = fresh_model(make_model_folder(tmp_path / "m", family))
    parts = {"unet": model.unet, "vae": model.vae}
    parts |= dict(zip(ENCODERS[family], model.text_encoders, strict=True))
    tensors = {f"{part}.{name}": tensor for part, module in parts.items() for name, tensor in module.state_dict().items()}
    whole = {name: own.tensor() for name, own in of_folder(tensors, facts(family)).items()}
    _same_as_converted(whole, parts, family)


def _same_as_converted(checkpoint: dict[str, Any], parts: dict[str, Any], family: Any) -> None:
    """What diffusers makes of a checkpoint is what the parts hold; on the meta device, names and shapes alone."""
    _same(convert_ldm_unet_checkpoint(dict(checkpoint), dict(parts["unet"].config)), parts["unet"])
    _same(convert_ldm_vae_checkpoint(dict(checkpoint), dict(parts["vae"].config)), parts["vae"])
    for part, encoder in ENCODERS[family].items():
        prefix = encoder.prefix
        if encoder.open_clip:
            inner = getattr(parts[part], "text_model", parts[part])
            converted = convert_open_clip_checkpoint(inner, dict(checkpoint), prefix=prefix)
        else:
            converted = convert_ldm_clip_checkpoint(dict(checkpoint), remove_prefix=prefix)
        _same({_flat(f".{name}")[1:]: tensor for name, tensor in converted.items()}, parts[part])


def _same(converted: dict[str, Any], module: Any) -> None:
    for name, own in module.state_dict().items():
        found = converted[name.removeprefix("text_model.")]
        assert found.shape == own.shape, name
        assert own.is_meta or torch.equal(found, own), name


def test_the_tokenizer_is_clips(tmp_path: Path) -> None:
    for name, text in tokenizer_files().items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    tokenizer: Any = CLIPTokenizer.from_pretrained(tmp_path)
    assert len(tokenizer) == 49408
    assert tokenizer("a photo of a cat").input_ids == [49406, 320, 1125, 539, 320, 2368, 49407]
    assert tokenizer("!").input_ids == [49406, 256, 49407]
    assert tokenizer.convert_ids_to_tokens([0, 255, 256, 49405]) == ["!", "Ń", "!</w>", "jekyll</w>"]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_published_model_needs_no_description_of_its_own(family: Any) -> None:
    files = {name: json.dumps(config) for name, config in facts(family).published().items()}
    for part in [name.split("/")[0] for name in files if "tokenizer_config" in name]:
        files |= {f"{part}/{name}": text for name, text in tokenizer_files().items()}
    assert own_descriptions(files, facts(family)) == {}
    unet = json.loads(files["unet/config.json"]) | {"attention_head_dim": 5}
    assert "unet/config.json" in own_descriptions(files | {"unet/config.json": json.dumps(unet)}, facts(family))
    assert "tokenizer/vocab.json" in own_descriptions(files | {"tokenizer/vocab.json": '{"a": 0}'}, facts(family))


def test_the_header_of_a_file_that_was_replaced_is_read_again(tmp_path: Path) -> None:
    """Also when the new one has the old one's size and time of writing, as copies made by some programs do."""
    file, other = tmp_path / "m.safetensors", tmp_path / "n.safetensors"
    for path, name in ((file, "a"), (other, "b")):
        save_file({name: torch.zeros(1)}, path)
        os.utime(path, (1, 1))
    assert [*read_single_file(file).shapes] == ["a"]
    other.replace(file)
    assert [*read_single_file(file).shapes] == ["b"]
