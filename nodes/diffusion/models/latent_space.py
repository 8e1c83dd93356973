"""Latents as denoisers are trained on them: how a VAE's pictures become them, and how they become pictures."""

from typing import Any, Protocol

from torch import Tensor


class LatentSpace(Protocol):
    """The latents of one VAE, [n, channels, h, w]."""

    @property
    def vae(self) -> Any: ...
    @property
    def channels(self) -> int: ...
    @property
    def factor(self) -> int:
        """Pixels in the side of a latent."""
        ...

    @property
    def feature_maps(self) -> int:
        """Channels of the encoder's first level, whose maps are as large as the picture."""
        ...

    def moments(self, pictures: Tensor, /) -> Tensor:
        """Return means and logarithms of variances [n, 2 c, h, w] of the posterior for pictures [n, 3, H, W] in -1..1."""
        ...

    def normalised(self, mean: Tensor, std: Tensor, /) -> tuple[Tensor, Tensor]:
        """Return mean and deviation [n, c, h, w] in the scale of the denoiser's training, in float32."""
        ...

    def restored(self, latents: Tensor, /) -> Tensor:
        """Return latents in the VAE's own scale, the inverse of `normalised`."""
        ...

    def decoded(self, latents: Tensor, /) -> Tensor:
        """Return the pictures [n, 3, H, W] of restored latents."""
        ...


class ScaledLatents:
    """The latents of an AutoencoderKL, moved and scaled by two numbers of its configuration."""

    def __init__(self, vae: Any) -> None:
        self.vae = vae
        config = vae.config
        self.channels: int = config["latent_channels"]
        self.factor: int = 2 ** (len(config["block_out_channels"]) - 1)
        self.feature_maps: int = config["block_out_channels"][0]
        self._shift: float = config.get("shift_factor") or 0.0
        self._scale: float = config["scaling_factor"]

    def moments(self, pictures: Tensor) -> Tensor:
        return self.vae.encode(pictures).latent_dist.parameters

    def normalised(self, mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
        return (mean.float() - self._shift) * self._scale, std.float() * self._scale

    def restored(self, latents: Tensor) -> Tensor:
        return latents / self._scale + self._shift

    def decoded(self, latents: Tensor) -> Tensor:
        return self.vae.decode(latents.to(self.vae.dtype)).sample
