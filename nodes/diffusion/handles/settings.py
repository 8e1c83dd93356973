"""Settings of trainings; needs no torch."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from nodes.diffusion.handles.prompt_checks import without_networks, without_schedules


def _group(name: str) -> dict[str, Any]:
    return {"group": name}


def _readable_preview(prompt: str) -> str:
    return without_networks(without_schedules(prompt, "preview_prompt"))


class TrainingSettings(BaseModel):
    """Settings of any training: steps, optimizer, precision, validation and checkpoints."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    version: ClassVar[int] = 2
    """Of the nodes that train, raised when the loop changes their results; one whose own results changed too adds to it."""

    continues: ClassVar[frozenset[str]] = frozenset({"max_steps", "continue_from"})
    """Of the nodes that train: more steps may go on from where fewer have ended."""

    max_steps: Annotated[int, Field(ge=1, le=10_000_000)] = 300
    """Optimizer steps."""
    batch_size: Annotated[int, Field(ge=1, le=1024)] = 8
    """Pictures per forward pass."""
    gradient_accumulation_steps: Annotated[int, Field(ge=1, le=1024)] = 1
    """Forward passes per optimizer step, whose gradients are averaged, as a batch that many times as large has them. On a
    CPU as many processes share them as the environment variable `LATENTLOOM_PROCESSES` says when the program starts:
    quicker, with the bytes that one process with one thread gives."""
    learning_rate: Annotated[float, Field(gt=0, le=10)] = 1e-4
    """Step size: 1e-4 is usual for a LoRA on Stable Diffusion, 1e-3 for the bundled model, 1 for prodigy."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Chooses order, noise and timesteps."""

    optimizer: Annotated[
        Literal["adamw", "adamw8bit", "adafactor", "prodigy", "schedulefree"], Field(json_schema_extra=_group("Optimizer"))
    ] = "adamw"
    """`adamw8bit` saves memory on a GPU; `prodigy` finds the learning rate itself; `schedulefree` needs no schedule."""
    weight_decay: Annotated[float, Field(ge=0, le=1, json_schema_extra=_group("Optimizer"))] = 0.01
    """How strongly weights are pulled to zero (decoupled, Loshchilov and Hutter 2019)."""
    lr_scheduler: Annotated[Literal["constant", "linear", "cosine"], Field(json_schema_extra=_group("Optimizer"))] = "constant"
    """How the learning rate falls after the warm-up."""
    lr_warmup_steps: Annotated[int, Field(ge=0, json_schema_extra=_group("Optimizer"))] = 0
    """Steps in which the learning rate rises from zero."""
    max_grad_norm: Annotated[float, Field(ge=0, json_schema_extra=_group("Optimizer"))] = 1.0
    """Gradients longer than this are shortened to it; 0 leaves them."""
    ema_decay: Annotated[float, Field(ge=0, lt=1, json_schema_extra=_group("Optimizer"))] = 0.0
    """Keep a running average of the weights and save that; 0.999 is usual, 0 is off."""

    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16"], Field(json_schema_extra=_group("Speed and memory"))] = "auto"
    """Arithmetic of the forward pass; `auto` takes what the device is fastest at. Trained weights are always fp32."""

    validation_fraction: Annotated[float, Field(ge=0, le=0.5, json_schema_extra=_group("Watching"))] = 0.0
    """Share of the pictures held out of training, on which the loss is measured at fixed timesteps and noise."""
    validation_every: Annotated[int, Field(ge=1, json_schema_extra=_group("Watching"))] = 50
    """Steps between two measurements of the validation loss."""
    checkpoint_every: Annotated[int, Field(ge=1, json_schema_extra=_group("Watching"))] = 100
    """Steps between two checkpoints, from which an interrupted training goes on."""
    continue_from: Annotated[int, Field(ge=0, json_schema_extra=_group("Optimizer"))] = 0
    """Steps of a finished training, with the same settings but for max_steps, from which this one goes on with the rest of its
    own schedule; 0 follows one schedule from the beginning. At a constant rate more steps go on by themselves."""

    @property
    def has_steady_rate(self) -> bool:
        """Return whether max_steps leaves the learning rate of every single step as it is."""
        return self.lr_scheduler == "constant" or self.optimizer == "schedulefree"


class DenoisingSettings(TrainingSettings):
    """Settings shared by all trainings that use the denoising loss."""

    added_fields: ClassVar[frozenset[str]] = frozenset({"timestep_sampling", "shift", "loss_weighting"})

    gradient_checkpointing: Annotated[bool, Field(json_schema_extra=_group("Speed and memory"))] = False
    """Compute activations twice instead of keeping them: less memory, about a fifth slower."""

    sample_latents: Annotated[bool, Field(json_schema_extra=_group("Noise and loss"))] = True
    """Draw latents from the VAE's distribution each time, instead of taking its mean."""
    snr_gamma: Annotated[float, Field(ge=0, json_schema_extra=_group("Noise and loss"))] = 0.0
    """Min-SNR weighting of the loss (Hang et al. 2023); 5 is usual, 0 is off."""
    noise_offset: Annotated[float, Field(ge=0, le=1, json_schema_extra=_group("Noise and loss"))] = 0.0
    """Adds a constant per channel to the noise, so that very dark and bright pictures can be learned; 0.05 is usual."""
    zero_terminal_snr: Annotated[bool, Field(json_schema_extra=_group("Noise and loss"))] = False
    """Train with no signal left at the last timestep (Lin et al. 2024); for v-prediction models."""

    timestep_sampling: Annotated[
        Literal["automatic", "uniform", "logit-normal", "mode"], Field(json_schema_extra=_group("Noise and loss"))
    ] = "automatic"
    """Which noise levels a rectified-flow model sees (Esser et al. 2024, 3.1): all alike, those in the middle, or both ends too;
    `automatic` is `logit-normal`. Models that predict noise or velocity see all alike."""
    shift: Annotated[float, Field(ge=0, le=100, json_schema_extra=_group("Noise and loss"))] = 0.0
    """Moves the noise levels of a rectified-flow model toward more noise, as large pictures need it; 1 moves nothing, and 0 is
    what the model itself takes for the size of the picture."""
    loss_weighting: Annotated[Literal["none", "cosmap"], Field(json_schema_extra=_group("Noise and loss"))] = "none"
    """Weights of a rectified-flow model's loss by noise level: none, or those of Esser et al. 2024 (3.1), which are highest in
    the middle."""

    preview_every: Annotated[int, Field(ge=0, json_schema_extra=_group("Watching"))] = 0
    """Steps between two preview pictures; 0 draws none."""
    preview_prompt: Annotated[
        str, AfterValidator(_readable_preview), Field(json_schema_extra={**_group("Watching"), "widget": "prompt"})
    ] = ""
    """What previews show, one prompt per line; left empty, two of the captions."""
