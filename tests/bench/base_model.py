"""What a bundled model can do: how its VAE and CLIP fare with held-out pictures, and whether what it draws is told apart.

    python -m tests.bench.base_model FOLDER [--judge FOLDER] [--words FILE] [--sheet FILE]

`--judge` is the model whose CLIP is asked, the same one unless said; `--words` says which objects are drawn, one per line;
`--sheet` gets the 64 pictures of fixed prompts.
"""

import argparse
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from PIL import Image
from torch import Tensor
from torch.nn import functional
from transformers import CLIPImageProcessor, CLIPTextModelWithProjection, CLIPTokenizer, CLIPVisionModelWithProjection

ROOT = Path(__file__).parents[2]
HELD_OUT = Path(__file__).parent / "held_out"
PICTURES = ROOT / "workflows" / "pictures" / "emoji" / "base"
STEPS, GUIDANCE = 25, 5.0
STYLES = ("flat", "3d")


def told(folder: Path) -> list[tuple[Path, str]]:
    """Return the pictures of a folder with what their metadata says they show, in a fixed order."""
    lines = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    return sorted((folder / line["file_name"], line["text"]) for line in lines)


def prompts_of_sheet(words: list[str]) -> list[str]:
    """Return 64 prompts drawn by lot: 44 plain, 14 on colored backgrounds, 6 with two objects."""
    draw = random.Random(64)
    chosen = draw.sample(words, 70)
    colors = ("light blue", "green", "yellow", "pink", "purple", "teal", "gray")
    plain = [f"{STYLES[n % 2]} style {word}" for n, word in enumerate(chosen[:44])]
    colored = [f"{STYLES[n % 2]} style {word} on a {colors[n % 7]} background" for n, word in enumerate(chosen[44:58])]
    double = [f"{STYLES[n % 2]} style {chosen[58 + 2 * n]} and {chosen[59 + 2 * n]}" for n in range(6)]
    return plain + colored + double


def opened(path: Path, side: int = 128) -> Image.Image:
    picture = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", picture.size, "white")
    white.alpha_composite(picture)
    return white.convert("RGB").resize((side, side), Image.Resampling.LANCZOS)


class Judge:
    """A folder's CLIP, by the library alone."""

    def __init__(self, folder: Path) -> None:
        self.text = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder", dtype=torch.float32)
        self.image = CLIPVisionModelWithProjection.from_pretrained(folder / "image_encoder", dtype=torch.float32)
        self.tokenizer = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.processor = CLIPImageProcessor.from_pretrained(folder / "feature_extractor")

    @torch.no_grad()
    def similarities(self, pictures: list[Image.Image], captions: list[str]) -> Tensor:
        """Return cosines [pictures, captions]."""
        pixels = self.processor(pictures, return_tensors="pt").pixel_values
        ids = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt").input_ids
        seen, said = self.image(pixel_values=pixels).image_embeds, self.text(input_ids=ids).text_embeds
        return functional.normalize(seen, dim=-1) @ functional.normalize(said, dim=-1).T


def recall(similarities: Tensor, first: int) -> float:
    """Return the share of rows whose own column is among the `first` largest."""
    best = similarities.topk(first, dim=1).indices
    return float((best == torch.arange(len(best))[:, None]).any(dim=1).float().mean())


@torch.no_grad()
def psnr(folder: Path) -> float:
    """Return the mean over the held-out pictures of how well each comes back from its mean latents, in dB."""
    vae: Any = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    found: list[float] = []
    for path, _ in told(HELD_OUT):
        shown = torch.from_numpy(np.array(opened(path))).permute(2, 0, 1)[None] / 127.5 - 1
        drawn = vae.decode(vae.encode(shown).latent_dist.mean).sample.clamp(-1, 1)
        found.append(-10 * math.log10(float((drawn - shown).square().mean()) / 4))
    return sum(found) / len(found)


def drawn(pipeline: Any, prompts: list[str]) -> list[Image.Image]:
    """Return a picture of each prompt, the number of a prompt its seed."""
    pictures: list[Image.Image] = []
    for start in range(0, len(prompts), 8):
        batch = prompts[start : start + 8]
        generators = [torch.Generator().manual_seed(start + n) for n in range(len(batch))]
        pictures += pipeline(batch, num_inference_steps=STEPS, guidance_scale=GUIDANCE, generator=generators).images
    return pictures


def sheet(pictures: list[Image.Image]) -> Image.Image:
    """Return eight pictures in a row."""
    whole = Image.new("RGB", (8 * 128, 128 * -(-len(pictures) // 8)), "white")
    for number, picture in enumerate(pictures):
        whole.paste(picture, (number % 8 * 128, number // 8 * 128))
    return whole


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--judge", type=Path)
    parser.add_argument("--words", type=Path)
    parser.add_argument("--sheet", type=Path)
    given = parser.parse_args()
    judge = Judge(given.judge or given.folder)
    print(f"VAE: {psnr(given.folder):.2f} dB on {len(told(HELD_OUT))} held-out pictures")
    held = [(opened(path), f"{path.parent.name} style {text}") for path, text in told(HELD_OUT)]
    found = judge.similarities([picture for picture, _ in held], [caption for _, caption in held])
    print(f"CLIP: caption to held-out picture {recall(found.T, 1):.3f} at 1, {recall(found.T, 5):.3f} at 5")
    known = told(PICTURES)
    words = set(given.words.read_text().splitlines()) if given.words else {text for _, text in known}
    chosen = random.Random(100).sample([each for each in known if each[1] in words], 100)
    captions = [f"{path.parent.name} style {text}" for path, text in chosen]
    real = judge.similarities([opened(path) for path, _ in chosen], captions)
    pipeline: Any = StableDiffusionPipeline.from_pretrained(given.folder, torch_dtype=torch.float32)
    pipeline.set_progress_bar_config(disable=True)
    made = judge.similarities(drawn(pipeline, captions), captions)
    print(f"right caption of 100, drawn: {recall(made, 1):.2f} at 1, {recall(made, 5):.2f} at 5")
    print(f"right caption of 100, real: {recall(real, 1):.2f} at 1, {recall(real, 5):.2f} at 5")
    if given.sheet:
        prompts = prompts_of_sheet(sorted({text for _, text in known}))
        sheet(drawn(pipeline, prompts)).save(given.sheet)
        print("\n".join(f"{n // 8 + 1}.{n % 8 + 1} {prompt}" for n, prompt in enumerate(prompts)))


if __name__ == "__main__":
    main()
