"""Configurations in the diffusers folder of a Stable Diffusion model."""

from typing import Annotated

from pydantic import BaseModel, Field

from nodes.diffusion.errors import InputError
from nodes.diffusion.families.protocol import Count, ModelFolder
from nodes.diffusion.handles.models import PredictionType, Purpose

READ = "Read are UNets of 4 input channels (text-to-image), 9 (inpainting) and 8 (InstructPix2Pix)."


class UNetConfig(BaseModel):
    """What is read of unet/config.json; diffusers' defaults where it is silent."""

    sample_size: Count | Annotated[list[Count], Field(min_length=1)] | None = None
    in_channels: Count = 4
    use_linear_projection: bool = False
    class_embed_type: str | None = None

    @property
    def side(self) -> int:
        """Side of the latents that the UNet was trained on."""
        size = self.sample_size or 64
        return size if isinstance(size, int) else max(size)


class VAEConfig(BaseModel):
    """What is read of vae/config.json."""

    block_out_channels: Annotated[list[Count], Field(min_length=1, max_length=8)]
    latent_channels: Count = 4

    @property
    def factor(self) -> int:
        """Pixels in the side of one latent."""
        return 2 ** (len(self.block_out_channels) - 1)


class TextEncoderConfig(BaseModel):
    """What is read of text_encoder/config.json."""

    num_hidden_layers: Count = 12


class SchedulerConfig(BaseModel):
    """What is read of scheduler/scheduler_config.json."""

    prediction_type: str = "epsilon"
    rescale_betas_zero_snr: bool = False

    def predicts(self) -> PredictionType:
        """Return what the model around the scheduler predicts; raise InputError for what is not known."""
        if self.prediction_type == "epsilon" or self.prediction_type == "v_prediction":
            return self.prediction_type
        raise InputError(f"the scheduler predicts {self.prediction_type!r}; epsilon or v_prediction is needed.", field="model")


def is_linear(folder: ModelFolder) -> bool:
    """Return whether the UNet projects into its transformers by matrices, as SD2's does, and not by 1x1 convolutions."""
    return folder.read("unet/config.json", UNetConfig).use_linear_projection


def purpose_of(folder: ModelFolder, channels: int, latents: int) -> Purpose:
    """Return what the channels of a UNet beside the noisy latents are for; raise InputError for those that cannot be filled."""
    known: dict[int, Purpose] = {latents: "text-to-image", 2 * latents + 1: "inpainting", 2 * latents: "instruct-pix2pix"}
    if channels in known:
        return known[channels]
    others = {latents + 1: "a depth-to-image model", latents + 3: "an upscaling model"}
    message = (
        f"{folder.name} is {others.get(channels, 'no model that is known')}: "
        f"its UNet takes {channels} channels where the VAE gives {latents}."
    )
    raise InputError(message, field="model", remedy=READ)
