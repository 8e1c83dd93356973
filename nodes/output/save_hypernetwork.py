"""SaveHypernetwork."""

from pathlib import PurePath
from typing import ClassVar

from graph_runtime.context import Artifact, RunContext
from graph_runtime.node import FileName, Node, Wired
from nodes import diffusion
from nodes.diffusion.errors import InputError
from nodes.diffusion.handles.adapters import Hypernetwork
from nodes.diffusion.handles.models import DiffusionModel
from nodes.diffusion.handles.wired_models import refuse_bare, refuse_untrained


class SaveHypernetwork(Node):
    """Write a trained hypernetwork as AUTOMATIC1111's .pt file, with the workflow that made it inside.

    Hypernetwork: AUTOMATIC1111; ComfyUI knows ten activations, and drops numbers in drawing where training had dropout; not
    sd-scripts and diffusers.
    """

    synonyms: ClassVar[tuple[str, ...]] = ("save hypernet", "export hypernetwork", "pt")
    side_effects: ClassVar[bool] = True

    filename: FileName = "hypernetwork.pt"
    """Name of the file; other programs call the hypernetwork by it."""

    def check(self, wired: Wired) -> None:
        refuse_untrained(wired["model"])
        refuse_bare(wired["model"], "this model has no hypernetwork.", "Wire the model as TrainHypernet returns it.")

    def run(self, model: DiffusionModel, context: RunContext) -> tuple[Artifact, ...]:
        hypernetwork = _only_one(model)

        name = PurePath(self.filename).stem if PurePath(self.filename).suffix == ".pt" else self.filename
        content = diffusion.adapters.a1111_hypernetwork(hypernetwork, name, model, context.provenance.text())
        return (Artifact(f"{name}.pt", context.add_file(".pt", lambda path: path.write_bytes(content))),)


def _only_one(model: DiffusionModel) -> Hypernetwork:
    found = [adapter for adapter in model.adapters if isinstance(adapter, Hypernetwork)]
    if len(found) != 1:
        number = "several hypernetworks" if found else "no hypernetwork"
        remedy = "Wire the model as TrainHypernet returns it, with one hypernetwork."
        raise InputError(f"this model has {number}.", field="model", remedy=remedy)
    if found[0].weights is None:
        raise InputError("this hypernetwork has not been trained.", field="model", remedy="Wire the trained model here.")
    return found[0]
