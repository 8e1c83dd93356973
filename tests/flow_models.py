"""Small random models of rectified-flow families, built from configurations, and what diffusers makes of them."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLFlux2,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Transformer2DModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from safetensors.torch import load_file, save_file
from transformers import Qwen2Tokenizer, Qwen3Config, Qwen3Model

from nodes.diffusion.families.protocol import Conversion, Rows
from nodes.diffusion.families.registry import facts
from nodes.diffusion.families.vocabularies.qwen import SPECIAL_TOKENS, WHOLE_TOKENS
from nodes.diffusion.formats.single_file.configurations import METADATA_NAME

WIDTH = 32
"""Width of the text states."""


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
    tokenizer.add_special_tokens({"additional_special_tokens": list(SPECIAL_TOKENS[1:])})
    tokenizer.add_tokens(list(WHOLE_TOKENS))
    tokenizer.save_pretrained(folder)


PROMPTS = ("a cat", "two dogs in the rain, seen from far above")
SIZE = (96, 64)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
"""What Qwen3's chat template renders for one user turn, with and without `enable_thinking`."""


@dataclass(frozen=True)
class Kind:
    """A family, its small model, and how diffusers' pipeline is asked for what the program draws."""

    family: str
    make: Callable[..., Path]
    pipeline: Any
    transformer: Any
    channels: int
    factor: int
    no_guidance: float
    """What its pipeline calls guidance 1."""
    options: Mapping[str, Any]
    attention: Mapping[str, str]
    """The layers that a LoRA adapts, and what LoRA files call them that most programs read."""
    single_file: str
    """A layer in the single file, and the layers whose rows it holds."""
    rows: tuple[str, ...]
    as_ours: Callable[[Any, torch.Tensor], torch.Tensor] = lambda pipe, latents: latents

    def official(
        self, folder: Path, guidance_scale: float, adapt: Callable[[Any], object] = lambda pipe: None, steps: int = 4
    ) -> torch.Tensor:
        """Return the latents of diffusers' pipeline for PROMPTS and the noise of seeds 1 and 2."""
        shape = (self.channels, SIZE[1] // self.factor, SIZE[0] // self.factor)
        noise = torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)])
        pipe: Any = self.pipeline.from_pretrained(folder)
        pipe.tokenizer.chat_template = TEMPLATE
        pipe.set_progress_bar_config(disable=True)
        adapt(pipe)
        options = {"width": SIZE[0], "height": SIZE[1], "num_inference_steps": steps, "output_type": "latent"}
        options |= deepcopy(dict(self.options))  # a pipeline writes into the list of negative prompts
        scale = guidance_scale - 1 + self.no_guidance
        return self.as_ours(pipe, pipe(prompt=list(PROMPTS), guidance_scale=scale, latents=noise, **options).images)


def _normalised_patches(pipe: Any, latents: torch.Tensor) -> torch.Tensor:
    patches, bn = torch.nn.functional.pixel_unshuffle(latents, 2), pipe.vae.bn
    return (patches - bn.running_mean.reshape(-1, 1, 1)) / (bn.running_var.reshape(-1, 1, 1) + 1e-4).sqrt()


Z_IMAGE = Kind(
    family="z_image",
    make=make_z_image_folder,
    pipeline=ZImagePipeline,
    transformer=ZImageTransformer2DModel,
    channels=16,
    factor=8,
    no_guidance=0.0,
    options={"negative_prompt": [""] * 2},
    attention={
        f"layers.{n}.attention.{to}": f"layers.{n}.attention.{to}" for n in (0, 1) for to in ("to_q", "to_k", "to_v", "to_out.0")
    },
    single_file="layers.0.attention.qkv",
    rows=("layers.0.attention.to_q", "layers.0.attention.to_k", "layers.0.attention.to_v"),
)
KLEIN = Kind(
    family="flux2_klein_4b",
    make=make_klein_folder,
    pipeline=Flux2KleinPipeline,
    transformer=Flux2Transformer2DModel,
    channels=128,
    factor=16,
    no_guidance=1.0,
    options={"text_encoder_out_layers": (1, 2, 3)},
    attention={
        **{f"transformer_blocks.0.attn.{to}": "double_blocks.0.img_attn.qkv" for to in ("to_q", "to_k", "to_v")},
        **{f"transformer_blocks.0.attn.add_{to}_proj": "double_blocks.0.txt_attn.qkv" for to in "qkv"},
        "transformer_blocks.0.attn.to_out.0": "double_blocks.0.img_attn.proj",
        "transformer_blocks.0.attn.to_add_out": "double_blocks.0.txt_attn.proj",
        **{f"single_transformer_blocks.{n}.attn.to_qkv_mlp_proj": f"single_blocks.{n}.linear1" for n in (0, 1)},
        **{f"single_transformer_blocks.{n}.attn.to_out": f"single_blocks.{n}.linear2" for n in (0, 1)},
    },
    single_file="double_blocks.0.txt_attn.qkv",
    rows=tuple(f"transformer_blocks.0.attn.add_{to}_proj" for to in "qkv"),
    as_ours=_normalised_patches,
)


def write_apart(
    kind: Kind, folder: Path, root: Path, *, prefix: str = "model.diffusion_model.", **changes: dict[str, torch.Tensor]
) -> None:
    """Write a folder's parts as ComfyUI has them: `m`, the transformer with fused attention, `qwen` and `ae`, the VAE of LDM."""
    texts = {str(path.relative_to(folder)): path.read_text() for path in folder.glob("**/*.json") if ".index." not in path.name}
    names = facts(kind.family).tensor_names(())
    for part, (file, begins) in {"transformer": ("m", prefix), "text_encoder": ("qwen", "model."), "vae": ("ae", "")}.items():
        (weights,) = (folder / part).glob("*.safetensors")
        whole = {"transformer": "model.diffusion_model.", "vae": "vae."}.get(part, "text_encoders.qwen3_4b.transformer.model.")
        fused: dict[str, dict[Conversion, torch.Tensor]] = {}
        for name, tensor in load_file(weights).items():
            own = names.to_file(f"{part}.{name}")
            assert own is not None, name
            fused.setdefault(begins + own.name.removeprefix(whole), {})[own.conversion] = tensor
        tensors = {name: _stored(found) for name, found in fused.items()} | changes.get(file, {})
        save_file(tensors, root / f"{file}.safetensors", {METADATA_NAME: json.dumps(texts)} if file == "m" else {})


def _stored(found: Mapping[Conversion, torch.Tensor]) -> torch.Tensor:
    """A single file's tensor, of a folder's."""
    conversion, tensor = next(iter(found.items()))
    if isinstance(conversion, Rows):
        return torch.cat([found[Rows(index, conversion.shares)] for index in range(len(found))])
    if conversion == "swapped":
        return torch.cat(tensor.chunk(2)[::-1])
    return tensor[:, :, None, None].contiguous() if conversion == "conv" else tensor
