"""Writing of a plain LoRA layer by layer, with one layer in memory at a time."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor

from nodes.diffusion.adapters.lora.factorization import Factors
from nodes.diffusion.formats.safetensors_writer import write_one_by_one
from nodes.diffusion.handles.adapters import LowRankAdapter

AddFile = Callable[[str, Callable[[Path], object]], Path]


@dataclass(frozen=True)
class MadeLayer:
    """One layer's change, as factors, or whole for a norm.

    Its name is such as `unet.conv_in` or `text_encoder_0.encoder.layers.0.mlp.fc1`.
    """

    layer: str
    shape: tuple[int, ...]
    """The shape of the weight."""
    factors: Factors | None
    bias: Tensor | None = None
    """The change of the bias."""
    whole: Tensor | None = None


@dataclass
class LoraMaker:
    """Writes a LoRA and collects totals over its layers."""

    ranks: list[int] = field(default_factory=list[int])
    targets: dict[str, list[str]] = field(default_factory=dict[str, list[str]])
    is_wide: bool = False
    """True if it changes convolutions with kernels larger than 1x1."""
    squares: float = 0.0
    """The sum of squares of all changes."""
    lost: float = 0.0

    def made(self, name: str, layers: Iterable[MadeLayer], add_file: AddFile) -> LowRankAdapter:
        """Return a trained adapter of strength 1 whose products are not scaled."""
        weights = add_file(".safetensors", lambda path: write_one_by_one(path, self._tensors(layers)))
        encoders = sorted(part for part in self.targets if part != "unet")
        count = int(encoders[-1][-1]) + 1 if encoders else 0
        rank = max(self.ranks, default=1)
        return LowRankAdapter(
            name=name,
            algorithm="locon" if self.is_wide else "lora",
            rank=rank,
            alpha=rank,
            unet_targets=tuple(self.targets.get("unet", ())),
            text_encoder_targets=tuple(tuple(self.targets.get(f"text_encoder_{n}", ())) for n in range(count)),
            weights=weights,
        )

    def _tensors(self, layers: Iterable[MadeLayer]) -> Iterator[tuple[str, Tensor]]:
        for made in layers:
            part, _, name = made.layer.partition(".")
            self.targets.setdefault(part, []).append(name)
            self.is_wide |= made.shape[2:] > (1, 1) or made.whole is not None
            if made.factors is not None:
                yield from self._factors(made, made.factors)
            if made.whole is not None:
                yield f"{made.layer}.diff", made.whole
            if made.bias is not None:
                yield f"{made.layer}.diff_b", made.bias

    def _factors(self, made: MadeLayer, factors: Factors) -> Iterator[tuple[str, Tensor]]:
        rank, shape = factors.up.shape[1], made.shape
        self.ranks.append(rank)
        self.squares, self.lost = self.squares + factors.squares, self.lost + factors.lost
        yield f"{made.layer}.lora_A.weight", factors.down.reshape(rank, *shape[1:])
        yield f"{made.layer}.lora_B.weight", factors.up.reshape(shape[0], rank, *(1 for _ in shape[2:]))
