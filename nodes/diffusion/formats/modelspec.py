"""Words of ModelSpec 1.0.1, the metadata by which programs show what a file holds."""

from collections.abc import Mapping

PREDICTIONS: Mapping[str, str] = {"epsilon": "epsilon", "v_prediction": "v"}
"""What a model predicts, by its prediction type; there is no word for rectified flows, and their files leave it out."""
