"""What makes no sense for families of rectified-flow transformers whose text goes through a language model; needs no torch."""

from nodes.diffusion.families.protocol import Method, Refusal

TRAIN_LORA = "Train a LoRA."
STABLE_DIFFUSION = "Use a Stable Diffusion model."
FIRST_STABLE_DIFFUSION = "Use a Stable Diffusion 1.x model."


def flow_refusals(title: str, custom_diffusion: str) -> dict[Method, Refusal]:
    """Return the refusals of a family by its name in messages; `custom_diffusion` says why its keys and values stay."""
    no_word = Refusal(f"a new word is hardly learned through {title}'s language model, and no program reads it.", TRAIN_LORA)
    no_clip = Refusal(f"{title} has no CLIP text encoder.", FIRST_STABLE_DIFFUSION)
    return {
        "textual inversion": no_word,
        "DreamArtist": no_word,
        "custom diffusion": Refusal(custom_diffusion, TRAIN_LORA),
        "hypernetwork": Refusal(f"{title} has no cross-attention, on whose context a hypernetwork acts.", TRAIN_LORA),
        "DDIM inversion": Refusal("DDIM inversion is for models that predict noise or velocity.", STABLE_DIFFUSION),
        "null-text inversion": Refusal(f"{title} has no cross-attention, on whose maps such edits rest.", STABLE_DIFFUSION),
        "aesthetic gradient": no_clip,
        "CLIP training": no_clip,
        "image variation": Refusal(f"{title}'s text tokens have no place for a CLIP image embedding.", FIRST_STABLE_DIFFUSION),
        "A1111 embedding": Refusal(f"{title} has no word embeddings in files.", TRAIN_LORA),
        "custom diffusion file": Refusal(f"diffusers has no such file for {title}.", "Save the whole model with SavePipeline."),
        "text encoder training": Refusal(
            f"{title} reads text with a language model, which nobody's programs adapt.",
            "Turn text_encoder off, or train a LoRA of the transformer.",
        ),
        "Rebasin": Refusal(f"nobody has described which rows of {title}'s weights may change places.", "Use MergeWeighted."),
        "single file": Refusal(f"{title} is not written as one file.", "Save it as a folder with SavePipeline."),
    }
