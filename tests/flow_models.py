"""Small random models of rectified-flow families, built from configurations."""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2Transformer2DModel,
    ZImageTransformer2DModel,
)
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

WIDTH = 32
"""Width of the text states."""
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def make_z_image_folder(folder: Path, seed: int = 0, *, shift: float = 6.0) -> Path:
    """Write a diffusers folder of Z-Image with tens of thousands of random parameters, native side 32 pixels."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = ZImageTransformer2DModel(
            dim=32, n_heads=2, n_kv_heads=2, n_layers=2, n_refiner_layers=1, cap_feat_dim=WIDTH, axes_dims=[4, 6, 6],
            axes_lens=[1024, 64, 64],
        )  # fmt: skip
        with torch.no_grad():  # they are published as numbers, and zeros would hide whether they are used
            transformer.x_pad_token.normal_()
            transformer.cap_pad_token.normal_()
        scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
        return _write(folder, "ZImagePipeline", transformer, _vae_of_16_channels(), scheduler)


def make_klein_folder(folder: Path, seed: int = 0, *, is_distilled: bool = False) -> Path:
    """Write a diffusers folder of FLUX.2 klein, as small, whose VAE has learned other means and variances than 0 and 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        transformer = Flux2Transformer2DModel(
            num_layers=1, num_single_layers=2, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=3 * WIDTH,
            axes_dims_rope=(4, 4, 4, 4), guidance_embeds=False,
        )  # fmt: skip
        vae = AutoencoderKLFlux2(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4, sample_size=32)
        with torch.no_grad():
            vae.bn.running_mean.normal_()  # type: ignore[union-attr]
            vae.bn.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
        scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
        return _write(folder, "Flux2KleinPipeline", transformer, vae, scheduler, is_distilled=is_distilled)


def _write(folder: Path, pipeline: str, transformer: Any, vae: Any, scheduler: Any, **index: Any) -> Path:
    """Write a model's folder, with a small Qwen3 and a tokenizer of letters."""
    parts = {"transformer": transformer, "vae": vae, "scheduler": scheduler}
    for name, part in parts.items():
        part.save_pretrained(folder / name)
    _qwen3().save_pretrained(folder / "text_encoder")
    letters_tokenizer(folder / "tokenizer")
    index |= {"_class_name": pipeline, **{name: ["diffusers", type(part).__name__] for name, part in parts.items()}}
    index |= {name: ["transformers", cls] for name, cls in {"text_encoder": "Qwen3Model", "tokenizer": "Qwen2Tokenizer"}.items()}
    (folder / "model_index.json").write_text(json.dumps(index))
    return folder


def _vae_of_16_channels() -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8, 8, 16, 16),
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=16,
        layers_per_block=1,
        norm_num_groups=4,
        sample_size=32,
        scaling_factor=0.3611,
        shift_factor=0.1159,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _qwen3() -> Qwen3Model:
    config = Qwen3Config(
        hidden_size=WIDTH, intermediate_size=64, num_hidden_layers=4, num_attention_heads=2, num_key_value_heads=1, head_dim=16,
        vocab_size=300, max_position_embeddings=1024,
    )  # fmt: skip
    return Qwen3Model(config)


def letters_tokenizer(folder: Path) -> None:
    """Write Qwen's tokenizer without merges: one token for each byte."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    letters = [chr(byte) for byte in visible] + [chr(0x100 + number) for number in range(256 - len(visible))]
    tokenizer = Qwen2Tokenizer(vocab={letter: number for number, letter in enumerate(letters)}, merges=[])
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL[1:])})
    tokenizer.save_pretrained(folder)
