"""AUTOMATIC1111's hypernetwork files: a pickled dict of fields, and the nets (k, v) by the width of their context.

A file of AUTOMATIC1111 has one pair for each width, whatever the layer. Where a model's text is as wide as one of its
self-attentions, the pair under the number is that of self-attention, and the text's own is under `text_WIDTH`, which other
programs ignore; a file without it gives both the same pair, as there. Stable Diffusion's widths never coincide.
"""

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, Field, ValidationError, field_validator
from torch import Tensor

from nodes.diffusion.adapters.hypernetwork.apply import tensors_of, width_of, wrong_width
from nodes.diffusion.adapters.hypernetwork.modules import ACTIVATIONS, make_net
from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.pickles import pt_bytes, read_pt
from nodes.diffusion.handles.adapters import Hypernetwork, checked_structure
from nodes.diffusion.handles.models import DiffusionModel

USUAL_DROPOUT = 0.3
"""The dropout of files that state no value."""
TENSOR = re.compile(r"linear\.?(\d+)\.(weight|bias)")
"""Names within a net: `linear.0.weight`, and in NovelAI's first files `linear1.weight`."""


class FileFields(BaseModel):
    """The fields of a file, with AUTOMATIC1111's defaults."""

    layer_structure: Annotated[tuple[float, ...], AfterValidator(checked_structure)] = (1, 2, 1)
    activation_func: str = "linear"
    is_layer_norm: bool = False
    weight_initialization: str = "Normal"
    use_dropout: bool = False
    dropout_structure: tuple[Annotated[float, Field(ge=0, lt=1)], ...] = ()
    last_layer_dropout: bool = False
    activate_output: bool = True
    step: int = 0

    @field_validator("activation_func")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in ACTIVATIONS:
            raise ValueError(f"the activation {name!r} is not known; there are {', '.join(ACTIVATIONS)}")
        return name

    def form(self) -> Hypernetwork:
        """Return the hypernetwork that the fields describe, still without weights."""
        return Hypernetwork(
            layer_structure=self.layer_structure,
            activation_func=self.activation_func,
            is_layer_norm=self.is_layer_norm,
            dropout_structure=self._dropout(),
            weight_initialization=self.weight_initialization,
            activate_output=self.activate_output,
            steps=self.step,
        )

    def _dropout(self) -> tuple[float, ...]:
        """Return the dropout of each layer; without the list, it is after every layer but the last two, or the last one."""
        count = len(self.layer_structure)
        if len(self.dropout_structure) == count:
            return self.dropout_structure
        last = count - 1 if self.last_layer_dropout else count - 2
        return tuple(USUAL_DROPOUT if self.use_dropout and 0 < place < last else 0.0 for place in range(count))


def a1111_hypernetwork(hypernetwork: Hypernetwork, name: str, model: DiffusionModel, info: str) -> bytes:
    """Return the file of a trained hypernetwork; the same bytes for the same one. `info` is shown on request."""
    nets = tensors_of(hypernetwork)
    pairs: dict[int | str, Any] = {}
    for net in sorted({name for name, _ in nets}, key=lambda net: (net.startswith("text"), width_of(net))):
        key = net if width_of(net) in pairs else width_of(net)
        order = list(make_net(width_of(net), hypernetwork).state_dict())
        pairs[key] = tuple({inner: nets[net, letter][inner].clone() for inner in order} for letter in "kv")
    fields = {
        "step": hypernetwork.steps,
        "name": name,
        "layer_structure": [float(number) for number in hypernetwork.layer_structure],
        "activation_func": hypernetwork.activation_func,
        "is_layer_norm": hypernetwork.is_layer_norm,
        "weight_initialization": hypernetwork.weight_initialization,
        "use_dropout": any(hypernetwork.dropout_structure),
        "dropout_structure": [float(number) for number in hypernetwork.dropout_structure],
        "last_layer_dropout": hypernetwork.dropout_structure[-2] > 0,
        "activate_output": hypernetwork.activate_output,
        "sd_checkpoint": model.digest[:10],
        "sd_checkpoint_name": model.name,
        "optional_info": info,
    }
    return pt_bytes({**pairs, **fields})


def read_hypernetwork(path: Path, names: Collection[str]) -> tuple[Hypernetwork, dict[str, Tensor]]:
    """Return the hypernetwork in a file and its tensors by full name, for a model that has attention of these names."""
    content = read_pt(path, "a hypernetwork")
    try:
        given = content if isinstance(content, Mapping) else {}
        form = FileFields.model_validate(
            {key: value for key, value in given.items() if isinstance(key, str) and value is not None}
        ).form()
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InputError(
            f"{path.name}: {field}: {str(first['msg']).removeprefix('Value error, ')}.",
            field="file",
            remedy="Choose another file.",
        ) from None
    tensors: dict[str, Tensor] = {}
    for width in [key for key in given if type(key) is int]:
        for name in _nets_for(width, names):
            pair = given.get(name, given[width])
            tensors |= {f"unet.{name}.{inner}": tensor.clone() for inner, tensor in _pair(pair, width, form, path).items()}
    if not tensors:
        raise InputError(f"{path.name} holds no nets.", field="file", remedy="Choose a hypernetwork's file.")
    return form, tensors


def _nets_for(width: int, names: Iterable[str]) -> list[str]:
    found = [name for name in names if width_of(name) == width]
    if not found:
        raise wrong_width(width, names, "file")
    return found


def _pair(pair: object, width: int, form: Hypernetwork, path: Path) -> dict[str, Tensor]:
    """Return the tensors of two nets, as `k.linear.0.weight`, float32; raise InputError unless they match the fields."""
    wanted = {name: tensor.shape for name, tensor in make_net(width, form).state_dict().items()}
    nets: list[Any] = list(pair) if isinstance(pair, tuple | list) else []  # pyright: ignore[reportUnknownArgumentType]
    found: dict[str, Tensor] = {}
    for letter, net in zip("kv", nets, strict=False):
        tensors = dict(zip(_in_order(wanted), _tensors(net), strict=False))
        if {name: tensor.shape for name, tensor in tensors.items()} == wanted and len(net) == len(wanted):
            found |= {f"{letter}.{name}": tensor.detach().float().contiguous() for name, tensor in tensors.items()}
    if len(found) != 2 * len(wanted) or not all(tensor.isfinite().all() for tensor in found.values()):
        message = f"{path.name}: the nets for a width of {width} are not what its fields describe."
        raise InputError(message, field="file", remedy="The file is damaged; choose another.")
    return found


def _tensors(net: object) -> list[Tensor]:
    named: dict[str, Any] = {str(name): value for name, value in net.items()} if isinstance(net, Mapping) else {}  # pyright: ignore
    return [named[name] for name in _in_order(named) if isinstance(named[name], Tensor)]


def _in_order(names: Iterable[str]) -> list[str]:
    """Return the names of a net's tensors by layer; programs count layers without tensors differently."""
    found = [match for name in names if (match := TENSOR.fullmatch(name))]
    return [match[0] for match in sorted(found, key=lambda match: (int(match[1]), match[2]))]
