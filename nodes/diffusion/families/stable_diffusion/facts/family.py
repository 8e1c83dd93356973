"""The facts that SD 1.x, SD 2.x and SDXL have in common, given those that differ."""

from collections.abc import Callable, Collection, Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, ClassVar, Literal

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import (
    Component,
    Counterpart,
    Extra,
    LoraKind,
    Method,
    ModelFolder,
    Part,
    Refusal,
    Shape,
    TensorFile,
    TextEncoder,
)
from nodes.diffusion.families.stable_diffusion.facts import blocks, configurations, lora_names, recognition
from nodes.diffusion.families.stable_diffusion.facts.folders import (
    SchedulerConfig,
    TextEncoderConfig,
    UNetConfig,
    VAEConfig,
    purpose_of,
)
from nodes.diffusion.families.stable_diffusion.facts.parts import AVERAGE, FIRST_LAYER, UNET, VAE, EncoderNames
from nodes.diffusion.families.stable_diffusion.facts.prediction import prediction_in
from nodes.diffusion.families.stable_diffusion.facts.tensor_names import LdmNames, moving_average_name
from nodes.diffusion.families.stable_diffusion.facts.unet_names import unet_shape
from nodes.diffusion.families.tensor_names.autoencoder_kl import vae_blocks
from nodes.diffusion.families.vocabularies.clip import tokenizer_files
from nodes.diffusion.handles.models import ModelInfo, PredictionType, Purpose


@dataclass(frozen=True, kw_only=True)
class StableDiffusionFamily:
    """A family of a UNet, AutoencoderKL and CLIP text encoders, in single files of LDM and sgm; see `Facts`."""

    name: str
    title: str
    parts: tuple[Part, ...]
    resolution: int
    input_blocks: int
    """Blocks of the UNet before the middle one, which merges give ratios."""
    architecture_id: str
    """The ModelSpec id."""
    velocity_architecture: str = ""
    """The ModelSpec id of models that predict velocity, where it is another."""
    inpainting_architecture: str = ""
    kohya_version: str
    """kohya's name of the base model."""
    kohya_marks_velocity: bool = True
    pipelines: Mapping[Purpose, str]
    empty_components: tuple[str, ...] = ("safety_checker", "feature_extractor")
    zeros_when_unconditional: bool = False
    refusals: Mapping[Method, Refusal] = field(default_factory=dict[Method, Refusal])
    embedding_names: tuple[str, ...] = ("emb_params",)
    encoder_names: Mapping[str, EncoderNames]
    """Text encoders in single files, by folder."""
    label_embedding: str = "class_embedding"
    """The layer that is called `label_emb` in single files: of sizes and pooled text, or of unCLIP's picture."""
    average_prefix: str = AVERAGE
    velocity_is_marked: bool = True
    """Whether files say by an empty tensor that they predict velocity; otherwise their weights are probed."""
    unused_layer: tuple[int, int] | None = None
    """OpenCLIP's last layer, which is not used and left out of folders, behind the one that is written in its place."""

    embedding_precision: ClassVar[Literal["fp32"]] = "fp32"
    lora_leaves: ClassVar[Literal["kohya"]] = "kohya"
    max_text_tokens: ClassVar[int] = 0
    latent_channels: ClassVar[int] = 4
    picture_step: ClassVar[int] = 8
    samples_latents: ClassVar[bool] = True
    input_layers: ClassVar[tuple[str, ...]] = ("diffusion_model.input_blocks.0.0.weight", "unet.conv_in.weight")

    @cached_property
    def file_prefixes(self) -> dict[Component, tuple[str, ...]]:
        text = (prefix for encoder in self.encoder_names.values() for prefix in (encoder.prefix, encoder.sgm) if prefix)
        return {"unet": (UNET,), "vae": (VAE,), "text_encoder": tuple(text)}

    @cached_property
    def spellings(self) -> tuple[tuple[str, str], ...]:
        """Older merges leave `text_model.` out; SD2's text encoder may be where SDXL's first one is."""
        moved = [(encoder.sgm, encoder.prefix) for encoder in self.encoder_names.values() if encoder.sgm]
        return ((".text_model.", "."), *moved)

    def is_folder(self, folder: ModelFolder) -> bool:
        return recognition.family_of_folder(folder) == self.name

    def inspect(self, folder: ModelFolder) -> ModelInfo:
        unet, vae = folder.read("unet/config.json", UNetConfig), folder.read("vae/config.json", VAEConfig)
        encoders = {encoder.folder: encoder for encoder in self.parts if isinstance(encoder, TextEncoder)}
        layers = [folder.read(f"{name}/config.json", TextEncoderConfig).num_hidden_layers for name in encoders]
        if unet.class_embed_type == "projection":
            message = f"{folder.name} is an unCLIP model: it draws from an image embedding."
            raise InputError(message, field="model", remedy="Open its diffusers folder with LoadImageVariation.")
        scheduler = folder.read("scheduler/scheduler_config.json", SchedulerConfig)
        return ModelInfo(
            family=self.name,
            prediction_type=scheduler.predicts(),
            zero_terminal_snr=scheduler.rescale_betas_zero_snr,
            purpose=purpose_of(folder, unet.in_channels, vae.latent_channels),
            resolution=unet.side * vae.factor,
            text_parts=tuple(part for name in encoders for part in (name.replace("text_encoder", "tokenizer"), name)),
            max_clip_skip=max(0, min(layers) - 1 - any(encoder.penultimate for encoder in encoders.values())),
        )

    def is_file(self, shapes: Mapping[str, Shape]) -> bool:
        return recognition.family_in_file(shapes) == self.name

    def is_denoiser(self, shapes: Mapping[str, Shape]) -> bool:
        return recognition.family_of_unet(shapes) == self.name

    def check_file(self, file: TensorFile) -> None:
        encoders = [(encoder.prefix, encoder.sgm or encoder.prefix) for encoder in self.encoder_names.values()]
        for spelled in ((VAE,), *encoders):
            if not any(name.startswith(spelled) for name in file.shapes):
                message = f"{file.path.name} is {self.title} and holds no tensors {spelled[0]}*."
                raise InputError(message, field="model", remedy="Use a file that has all parts: UNet, VAE and text encoders.")

    def missing_components(self, shapes: Mapping[str, Shape]) -> list[Component]:
        return []

    def check_part(self, component: Component, file: TensorFile) -> None:
        message = f"{self.title} models are read whole."
        raise InputError(message, field=component, remedy="Leave it empty; BakeVAE puts another VAE into a model.")

    def prediction_of(self, file: TensorFile) -> tuple[PredictionType, str]:
        return prediction_in(file, probed=not self.velocity_is_marked)

    def published(self) -> dict[str, Any]:
        return configurations.published(self.name)

    def configurations(self, file: TensorFile) -> dict[str, Any]:
        """Return the published configurations with what is this file's own: channels, prediction, noise and size."""
        configs = self.published()
        unet, scheduler = configs["unet/config.json"], configs["scheduler/scheduler_config.json"]
        configurations.check_architecture(file, self.title, unet)
        unet["in_channels"] = file.shapes[FIRST_LAYER][1]
        scheduler["prediction_type"], _ = self.prediction_of(file)
        if not self.velocity_is_marked and scheduler["prediction_type"] == "v_prediction":
            unet["sample_size"] = 96  # 768 pixels; the model of 512 predicts noise
        if "ztsnr" in file.shapes:
            scheduler |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
        return configs

    def vocabulary(self) -> dict[str, str]:
        return tokenizer_files()

    def tensor_names(self, names: Iterable[str]) -> LdmNames:
        known = list(names)
        return LdmNames(self.encoder_names, self.label_embedding, unet_shape(known, UNET), vae_blocks(known))

    def moving_average(self, name: str) -> str:
        return moving_average_name(name) if name.startswith(UNET) else ""

    def extra_tensors(self, names: Collection[str]) -> dict[str, Extra]:
        """Return positions of CLIP's encoders; temperature, projection and last layer of OpenCLIP's."""
        extra: dict[str, Extra] = {}
        for encoder in self.encoder_names.values():
            prefix = encoder.prefix
            if not encoder.open_clip:
                embeddings = f"{prefix}text_model.embeddings."
                extra[f"{embeddings}position_ids"] = Extra("positions", f"{embeddings}position_embedding.weight")
                continue
            extra[f"{prefix}logit_scale"] = Extra("logit scale", f"{prefix}ln_final.weight")
            if f"{prefix}text_projection" not in names:
                extra[f"{prefix}text_projection"] = Extra("identity", f"{prefix}ln_final.weight")
            used, unused = (f"{prefix}transformer.resblocks.{number}." for number in self.unused_layer or (-1, -1))
            if not any(name.startswith(unused) for name in names):
                extra |= {name.replace(used, unused): Extra("copy", name) for name in names if name.startswith(used)}
        return extra

    def marks(self, predicts: PredictionType, *, zero_snr: bool, present: Container[str]) -> list[str]:
        """Return `v_pred` for velocity, which SD2's files never had, and `ztsnr` for noise without signal."""
        velocity = predicts == "v_prediction" and (self.velocity_is_marked or "v_pred" in present)
        return [name for name, wanted in (("v_pred", velocity), ("ztsnr", zero_snr)) if wanted]

    @property
    def blocks(self) -> tuple[str, ...]:
        return blocks.block_names(self.input_blocks)

    def block_finder(self, names: Iterable[str]) -> Callable[[str], str]:
        return partial(blocks.block_of, layers=blocks.layers_per_block(names))

    def architecture(self, config: Mapping[str, Any], predicts: PredictionType) -> str:
        published, compared = self.published()["unet/config.json"], ("block_out_channels", "cross_attention_dim")
        if any(config[name] != published[name] for name in compared):
            return f"custom-{self.name}-{'-'.join(map(str, config['block_out_channels']))}"
        return (self.velocity_architecture if predicts == "v_prediction" else "") or self.architecture_id

    def architecture_by_input(self, width: int, channels: int) -> str:
        if width != self.published()["unet/config.json"]["block_out_channels"][0]:
            return ""
        known = {self.latent_channels: self.architecture_id, 2 * self.latent_channels + 1: self.inpainting_architecture}
        return known.get(channels, "")

    def kohya_metadata(self, predicts: PredictionType) -> dict[str, str]:
        """Return the version, of which kohya marks v-prediction for SD1 and SD2 alone."""
        marked = self.kohya_marks_velocity and predicts == "v_prediction"
        version = self.kohya_version + ("_v" if marked else "")
        return {"ss_v2": str(version.startswith("sd_v2")), "ss_base_model_version": version}

    def lora_kind(self, layer: str) -> LoraKind | None:
        return lora_names.kind_of(layer)

    def lora_layer_finder(self, layers: Iterable[str]) -> Callable[[str], tuple[str, ...]]:
        return lora_names.finder(layers)

    def kohya_namer(self, denoiser_layers: Collection[str]) -> Callable[[str], Counterpart]:
        return lora_names.kohya_namer(denoiser_layers, sdxl=len(self.encoder_names) > 1)
