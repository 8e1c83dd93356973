"""Sentences from an image-to-text model of the person's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from nodes.diffusion.errors import InputError
from nodes.diffusion.formats.model_folders import read_config


def load_captioner(folder: Path, device: torch.device) -> Callable[[Image.Image], str]:
    """Return a function from a picture to a sentence, decoded greedily, by a model that transformers can load."""
    # Left open, `trust_remote_code` asks on the terminal whether to run Python that lies in the folder.
    safe = {"local_files_only": True, "trust_remote_code": False}
    try:
        read_config(folder / "config.json")
        processor: Any = AutoProcessor.from_pretrained(folder, **safe)
        model: Any = AutoModelForImageTextToText.from_pretrained(folder, use_safetensors=True, **safe)
    except (MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # transformers raises what the files make it raise
        remedy = "Give the folder of a BLIP-like model with safetensors weights."
        raise InputError(f"the captioner cannot be loaded: {error}", field="captioner", remedy=remedy) from error
    model = model.to(device).eval()

    def caption(picture: Image.Image) -> str:
        inputs = processor(images=picture, return_tensors="pt").to(device)
        with torch.no_grad():
            tokens = model.generate(**inputs, max_new_tokens=40, do_sample=False)
        return processor.batch_decode(tokens, skip_special_tokens=True)[0].strip()

    return caption
