"""The prediction type of the model in a single file: noise or velocity."""

from statistics import pstdev

from nodes.diffusion.families.protocol import TensorFile
from nodes.diffusion.families.stable_diffusion.facts.parts import FIRST_LAYER
from nodes.diffusion.handles.models import PredictionType

SD2_V_PREDICTION_PROBE = "model.diffusion_model.output_blocks.11.1.transformer_blocks.0.norm1.bias"
"""The tensor in which SD2's two kinds of 4 channels differ: its deviation is above 0.09 only where velocity is predicted."""


def prediction_in(file: TensorFile, *, probed: bool) -> tuple[PredictionType, str]:
    """Return what a single file predicts, and how that is known; SD2's is `probed` by its weights where nothing says it."""
    if "v_pred" in file.shapes:
        return "v_prediction", "it has the tensor v_pred"
    for key in ("modelspec.prediction_type", "modelspec.predict_key"):
        if said := file.metadata.get(key, ""):
            return ("v_prediction" if said.startswith("v") else "epsilon"), "its metadata says so"
    text_to_image = len(first := file.shapes.get(FIRST_LAYER, ())) == 4 and first[1] == 4
    if probed and text_to_image and len(file.shapes.get(SD2_V_PREDICTION_PROBE, ())) == 1:
        deviation = pstdev(file.numbers(SD2_V_PREDICTION_PROBE))
        return ("v_prediction" if deviation > 0.09 else "epsilon"), "its weights tell"
    return "epsilon", "nothing in it says otherwise"
