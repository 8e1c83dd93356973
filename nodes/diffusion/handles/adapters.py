"""Adapters: small frozen descriptions of what is applied to a model. Tensors are in files; importing this needs no torch.

Each describes its initial state; once trained, `weights` is a safetensors file whose names start with `unet.` or
`text_encoder_N.`, N counting the text encoders from 0.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

Algorithm = Literal["lora", "locon", "loha", "lokr", "dora", "rslora"]
ALGORITHM_NAMES: dict[Algorithm, str] = {
    "lora": "LoRA",
    "locon": "LoCon",
    "loha": "LoHa",
    "lokr": "LoKr",
    "dora": "DoRA",
    "rslora": "rsLoRA",
}


KEYS_AND_VALUES = ("attn2.to_k.weight", "attn2.to_v.weight")
"""The UNet's parameters that custom diffusion trains."""


def left_out_of_models(label: str) -> str:
    """Return the warning that a whole model's file lacks an adapter."""
    return f"{label} is not in what is written: save it as a file of its own."


@dataclass(frozen=True, kw_only=True)
class LowRankAdapter:
    """Small matrices for named layers (Hu et al. 2021), combined by the algorithm."""

    kind: Literal["lora"] = "lora"
    number_bytes: ClassVar[int] = 2
    """Bytes of a number in a saved file."""
    name: str = ""
    """The label in grids; empty takes the algorithm's name."""
    algorithm: Algorithm = "lora"
    rank: int
    """The inner dimension; the largest one where layers differ."""
    alpha: float
    factor: int = 8
    """LoKr: the largest size of the smaller factor."""
    unet_targets: tuple[str, ...]
    """Full names of the adapted layers inside the UNet."""
    text_encoder_targets: tuple[tuple[str, ...], ...] = ()
    """The same for each text encoder, in order; empty when none is trained."""
    seed: int = 0
    weights: Path | None = None
    """`unet.NAME.lora_A.weight`, `text_encoder_0.NAME.hada_w1_a`, ...; None while untrained."""
    unet_strength: float = 1.0
    text_encoder_strength: float = 1.0
    training: tuple[tuple[str, str], ...] = ()
    """Facts of the training as (`ss_*` name, text), for the metadata of a saved file."""
    start: Path | None = None
    """Tensors that its training goes on from, named as in `weights`; None begins anew."""

    @property
    def label(self) -> str:
        name, unet, text = self.name or ALGORITHM_NAMES[self.algorithm], self.unet_strength, self.text_encoder_strength
        if not any(self.text_encoder_targets) or text == unet:
            return name if unet == 1 else f"{name} * {unet:g}"
        return f"{name} * {unet:g}, text * {text:g}"

    @property
    def scale(self) -> float:
        """The factor of the products of matrices; rsLoRA divides by the root of the rank (Kalajdzievski 2023)."""
        return self.alpha / (self.rank**0.5 if self.algorithm == "rslora" else self.rank)

    def strength_on(self, part: str) -> float:
        """Return the strength on `unet` or `text_encoder_N`."""
        return self.unet_strength if part == "unet" else self.text_encoder_strength

    def targets(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return each adapted part with the names of its layers."""
        encoders = [(f"text_encoder_{number}", names) for number, names in enumerate(self.text_encoder_targets)]
        return [("unet", self.unet_targets), *encoders]

    @property
    def trained(self) -> str:
        """The trained tensors in a few words."""
        return f"matrices of rank {self.rank}"

    @property
    def left_out(self) -> str:
        """A sentence for models written as a whole, which lack it; empty when it is a part of the weights."""
        return left_out_of_models(self.label)

    def text_identity(self) -> str:
        """Return what text embeddings depend on; empty when they do not."""
        if not any(self.text_encoder_targets):
            return ""
        return f"{self.weights and self.weights.name}*{self.text_encoder_strength}*{self.scale}"


ENCODER_FOLDERS = {"text_encoder_0": "text_encoder", "text_encoder_1": "text_encoder_2"}
"""Folders of text encoders, by their names in trained tensors."""
ENCODERS = {folder: part for part, folder in ENCODER_FOLDERS.items()}


def in_folder(name: str) -> str:
    """Return a trained tensor's name with the folder of its part: `text_encoder.NAME` for `text_encoder_0.NAME`."""
    part, _, inner = name.partition(".")
    return f"{ENCODER_FOLDERS.get(part, part)}.{inner}"


def leaf_of(name: str) -> tuple[str, str]:
    """Return the layer of a low-rank adapter's tensor and its leaf: `unet.x.to_q` and `lora_A.weight`, or `dora_scale`."""
    layer = name.removesuffix(".weight").rpartition(".")[0]
    return layer, name[len(layer) + 1 :]


@dataclass(frozen=True, kw_only=True)
class TokenEmbedding:
    """A new word: vectors in each text encoder's table of tokens, called by a placeholder (Gal et al. 2022)."""

    kind: Literal["embedding"] = "embedding"
    number_bytes: ClassVar[int] = 4
    placeholder_token: str
    """The word in prompts and captions that stands for all the vectors."""
    num_vectors: int
    initializer_token: str = ""
    """The known word whose vector is the initial value of each."""
    spread: float = 0.0
    """The standard deviation of noise added to the initial values."""
    seed: int = 0
    weights: Path | None = None
    """`text_encoder_0` [vectors, d], and for SDXL `text_encoder_1`; None while untrained."""
    steps: int = 0
    """Optimizer steps it was trained for."""
    negative: bool = False
    """True if it belongs into the negative prompt (DreamArtist)."""
    guidance_scale: float = 0.0
    """The guidance scale of its training (DreamArtist), also for sampling; 0 without one."""
    start: Path | None = None
    """Vectors that its training continues from, named as in `weights`; None begins at the known word."""

    @property
    def label(self) -> str:
        return self.placeholder_token

    @property
    def plain_name(self) -> str:
        """The placeholder as a file name: `<red-fox>` becomes `red-fox`."""
        return "".join(letter for letter in self.placeholder_token if letter.isalnum() or letter in "-_") or "embedding"

    @property
    def trained(self) -> str:
        """The trained tensors in a few words."""
        return "word vectors"

    @property
    def left_out(self) -> str:
        """A sentence for models written as a whole, which lack it; empty when it is a part of the weights."""
        return f"the word {self.placeholder_token} is not in what is written: SaveEmbedding writes it."

    def text_identity(self) -> str:
        """Return what text embeddings depend on."""
        return f"{self.placeholder_token}={self.weights and self.weights.name}"


@dataclass(frozen=True, kw_only=True)
class WeightChange:
    """Weights of the model's own layers, trained themselves: all of them, or those whose names have certain endings."""

    kind: Literal["weights"] = "weights"
    number_bytes: ClassVar[int] = 4
    name: str
    """The label in grids, such as `fine-tuned`."""
    unet: bool = True
    text_encoder: bool = False
    vae: bool = False
    image_encoder: bool = False
    """True if its file also holds the image side of a CLIP and `text_encoder_0.text_projection.weight`: sampling depends on
    neither, and a saved folder holds both."""
    endings: tuple[str, ...] = ()
    """Suffixes of the changed parameters, such as `attn2.to_k.weight`; empty for all parameters."""
    clip_skip: int = 0
    """Layers of the text encoder that the training skipped and so did not change; part of the change's identity."""
    detach_start: bool = False
    """True if the start token, which is the same in every caption, gives no gradient to the trained keys and values."""
    weights: Path | None = None
    """`unet.NAME`, `vae.NAME`, `text_encoder_0.NAME`, `image_encoder.NAME`, float32; None while untrained."""

    @property
    def label(self) -> str:
        return self.name

    @property
    def trained(self) -> str:
        """The trained tensors in a few words."""
        if self.endings:
            return "keys and values"
        return "all weights of UNet and text encoders" if self.text_encoder else "all weights of the UNet"

    @property
    def left_out(self) -> str:
        """A sentence for models written as a whole, which lack it; empty when it is a part of the weights."""
        return ""

    @property
    def start(self) -> None:
        """Return None: its training begins with the model's own weights."""

    def text_identity(self) -> str:
        """Return what text embeddings depend on; empty when they do not."""
        return str(self.weights and self.weights.name) if self.text_encoder else ""


@dataclass(frozen=True, kw_only=True)
class AestheticGradient:
    """An aesthetic to which a copy of the text encoder is tuned for each prompt, when sampling (Gallego 2022)."""

    kind: Literal["aesthetic"] = "aesthetic"
    number_bytes: ClassVar[int] = 4
    steps: int
    """Optimizer steps for each prompt."""
    learning_rate: float
    blend: float = 1.0
    """The share of the tuned encoding; the rest is the original one."""
    weights: Path
    """`aesthetic_embedding` [1, d], and `text_projection` [d, width] where the text encoder has none of its own."""

    @property
    def label(self) -> str:
        return f"aesthetic, {self.steps} steps"

    @property
    def trained(self) -> str:
        """The trained tensors in a few words."""
        return self.label

    @property
    def left_out(self) -> str:
        """A sentence for models written as a whole, which lack it; empty when it is a part of the weights."""
        return left_out_of_models(self.label)

    @property
    def start(self) -> None:
        """Return None: it is not trained."""

    def text_identity(self) -> str:
        """Return an empty text: text embeddings of captions do not depend on it."""
        return ""


NARROWEST, WIDEST = 1 / 16, 64
"""Limits of a hypernetwork's layers, as multiples of the context's width."""


def checked_structure(multiples: tuple[float, ...]) -> tuple[float, ...]:
    """Return a hypernetwork's layer structure; raise ValueError unless what comes out is as wide as what goes in."""
    if len(multiples) < 2 or multiples[0] != 1 or multiples[-1] != 1:
        raise ValueError("a layer structure begins and ends with 1")
    if not all(NARROWEST <= multiple <= WIDEST for multiple in multiples):
        raise ValueError(f"the multiples of a layer structure are between {NARROWEST} and {WIDEST}")
    return multiples


@dataclass(frozen=True, kw_only=True)
class Hypernetwork:
    """Small nets that change the context from which the UNet's attention makes keys and values (AUTOMATIC1111's hypernetworks).

    One pair of nets serves all self-attention of one width, another all attention to the text; the widths are the model's.
    """

    kind: Literal["hypernetwork"] = "hypernetwork"
    number_bytes: ClassVar[int] = 4
    name: str = "hypernetwork"
    """The label in grids."""
    layer_structure: tuple[float, ...] = (1.0, 2.0, 1.0)
    """The widths of the context and of each linear layer's output, as multiples of the context's."""
    activation_func: str = "linear"
    """AUTOMATIC1111's name of the activation after each linear layer but the last; `linear` is none."""
    is_layer_norm: bool = False
    """True if a layer norm follows each linear layer."""
    dropout_structure: tuple[float, ...] = (0.0, 0.0, 0.0)
    """The dropout probability in training at each entry of `layer_structure`; the first and the last are 0."""
    weight_initialization: str = "Normal"
    activate_output: bool = False
    """True if the activation follows the last layer too."""
    seed: int = 0
    """The seed of initial values and dropout."""
    steps: int = 0
    """Optimizer steps it was trained for."""
    weights: Path | None = None
    """`unet.self_320.k.linear.0.weight`, `unet.text_768.v.linear.2.bias`, ...; None while untrained."""
    strength: float = 1.0
    start: Path | None = None
    """Tensors that its training goes on from, named as in `weights`; None begins anew."""

    @property
    def label(self) -> str:
        return self.name if self.strength == 1 else f"{self.name} * {self.strength:g}"

    @property
    def trained(self) -> str:
        """The trained tensors in a few words."""
        return self.label

    @property
    def left_out(self) -> str:
        """A sentence for models written as a whole, which lack it; empty when it is a part of the weights."""
        return left_out_of_models(self.label)

    def text_identity(self) -> str:
        """Return an empty text: text encoders are not changed."""
        return ""


Adapter = Annotated[
    LowRankAdapter | TokenEmbedding | WeightChange | AestheticGradient | Hypernetwork, Field(discriminator="kind")
]
