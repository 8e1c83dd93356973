"""Each method's steps beside a bare PyTorch loop: the same model, pictures, batch, threads and arithmetic.

Both take turns, a step each, in one process, so that whatever else the machine does meets both alike.

    python tests/bench/methods.py [METHOD ...]
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch.nn import functional
from transformers import CLIPTextModelWithProjection, CLIPTokenizer

from graph_runtime.cache import Cache, digest_file
from graph_runtime.context import RunContext, SilentReporter
from graph_runtime.workspace import OutsideReader, Workspace
from nodes.data.caption_dataset import CaptionDataset
from nodes.data.encode_captions import EncodeCaptions
from nodes.data.encode_latents import EncodeLatents
from nodes.data.load_images import LoadImages
from nodes.diffusion.devices import training_precision
from nodes.methods.fine_tune import FineTune
from nodes.methods.train_custom_diffusion import TrainCustomDiffusion
from nodes.methods.train_dreamartist import TrainDreamArtist
from nodes.methods.train_dreambooth import TrainDreamBooth
from nodes.methods.train_ti import TrainTI
from nodes.models.load_model import BUNDLED, LoadModel
from tests.bench.figures import record

ROOT = Path(__file__).parent.parent.parent
FOLDER = BUNDLED["loom-emoji"]
STEPS, WARM, BATCH = 24, 6, 4
WORD = {"placeholder": "<new>", "initializer": "thing"}
CPU = torch.device("cpu")


class Bare:
    """What one would write by hand, with everything that is cached in memory."""

    def __init__(self, latents: list[torch.Tensor], caption: str) -> None:
        self.unet: Any = UNet2DConditionModel.from_pretrained(FOLDER / "unet", torch_dtype=torch.float32).requires_grad_(False)
        self.unet.set_attn_processor(AttnProcessor())
        self.encoder: Any = CLIPTextModelWithProjection.from_pretrained(FOLDER / "text_encoder").float().requires_grad_(False)
        tokenizer: Any = CLIPTokenizer.from_pretrained(FOLDER / "tokenizer")
        self.scheduler: Any = DDPMScheduler.from_pretrained(FOLDER / "scheduler")
        self.latents = torch.stack(latents)
        self.ids = tokenizer([caption] * BATCH, padding="max_length", return_tensors="pt").input_ids
        with torch.no_grad():
            self.hidden = self.encoder(self.ids).last_hidden_state
        table = self.encoder.text_model.embeddings.token_embedding
        self.table = table.weight.detach()
        self.vectors = [torch.nn.Parameter(self.table[:count].clone()) for count in (4, 6)]
        self.autocast = training_precision(CPU, "auto") == "bf16"

    def loss(self, hidden: torch.Tensor, guidance: float = 0.0) -> torch.Tensor:
        clean = self.latents[torch.randint(0, len(self.latents), (BATCH,))]
        noise, timesteps = torch.randn_like(clean), torch.randint(0, 1000, (BATCH,))
        noisy, target = self.scheduler.add_noise(clean, noise, timesteps), self.scheduler.get_velocity(clean, noise, timesteps)
        if guidance:
            both = self.unet(noisy.repeat(2, 1, 1, 1), timesteps.repeat(2), hidden, return_dict=False)[0]
            negative, positive = both.chunk(2)
            predicted = negative + guidance * (positive - negative)
        else:
            predicted = self.unet(noisy, timesteps, hidden, return_dict=False)[0]
        return ((predicted.float() - target) ** 2).mean()

    def with_word(self, vectors: torch.Tensor) -> torch.Tensor:
        """The caption's conditioning with trained vectors in the place of some tokens."""
        ids = self.ids.clone()
        ids[:, 3 : 3 + len(vectors)] = len(self.table) + torch.arange(len(vectors))
        embeddings = self.encoder.text_model.embeddings
        looked_up, embeddings.token_embedding = embeddings.token_embedding, _Lookup(torch.cat([self.table, vectors]))
        try:
            return self.encoder(ids).last_hidden_state
        finally:
            embeddings.token_embedding = looked_up

    def stepper(self, parameters: list[Any], loss: Callable[[], torch.Tensor]) -> Callable[[], None]:
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(parameters, lr=1e-5, fused=True)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
                value = loss()
            value.backward()
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return step


class _Lookup(torch.nn.Module):
    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = table

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return functional.embedding(ids, self.table)


def keys_and_values(bare: Bare) -> list[Any]:
    return [p for name, p in bare.unet.named_parameters() if name.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))]


def guided(bare: Bare) -> torch.Tensor:
    return bare.loss(torch.cat([bare.with_word(bare.vectors[1]), bare.with_word(bare.vectors[0])]), 3.0)


BY_HAND: dict[str, Callable[[Bare], Callable[[], None]]] = {
    "FineTune": lambda b: b.stepper(list(b.unet.parameters()), lambda: b.loss(b.hidden)),
    "TrainDreamBooth": lambda b: b.stepper(list(b.unet.parameters()), lambda: b.loss(b.hidden) + b.loss(b.hidden)),
    "TrainTI": lambda b: b.stepper(b.vectors[:1], lambda: b.loss(b.with_word(b.vectors[0]))),
    "TrainDreamArtist": lambda b: b.stepper(b.vectors, lambda: guided(b)),
    "TrainCustomDiffusion": lambda b: b.stepper(
        [*keys_and_values(b), b.vectors[0]], lambda: b.loss(b.with_word(b.vectors[0])) + b.loss(b.hidden)
    ),
}


class Turns(SilentReporter):
    """Lets the bare loop make a step after each of ours, and notes the CPU seconds of both."""

    def __init__(self, bare: Callable[[], None]) -> None:
        self.bare = bare
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.began = time.process_time()

    def metric(self, step: int, values: Any) -> None:
        self.ours.append(time.process_time() - self.began)
        started = time.process_time()
        self.bare()
        self.theirs.append(time.process_time() - started)
        self.began = time.process_time()


def main() -> None:
    wanted = sys.argv[1:] or list(BY_HAND)
    with tempfile.TemporaryDirectory() as folder:
        cache = Cache(Path(folder))
        context = RunContext(device="cpu", store=cache)

        def made(node: Any, **inputs: Any) -> Any:
            files = OutsideReader(Workspace(ROOT, packages=(ROOT / "nodes",)), digest_file)
            own = replace(context, fingerprint=node.fingerprint(files), located={**context.located, **files.located})
            context.located = own.located
            return node.run(**inputs, context=own)

        model = made(LoadModel())
        images = made(LoadImages(folder="workflows/pictures/line"))
        captions = made(CaptionDataset(source="file name", template="flat style <new> {caption}"), images=images)
        latents = made(EncodeLatents(), model=model, images=images)
        plain = made(CaptionDataset(source="file name"), images=images)
        texts = {"class_latents": latents, "class_embeddings": made(EncodeCaptions(), model=model, captions=plain)}
        embeddings = texts["class_embeddings"]
        settings = {"max_steps": STEPS, "batch_size": BATCH}
        nodes: dict[str, tuple[Any, dict[str, Any]]] = {
            "FineTune": (FineTune(**settings), {"embeddings": embeddings}),
            "TrainDreamBooth": (TrainDreamBooth(**settings), {"embeddings": embeddings, **texts}),
            "TrainTI": (TrainTI(**settings, **WORD), {"captions": captions}),
            "TrainDreamArtist": (TrainDreamArtist(**settings, **WORD, guidance_scale=3.0), {"captions": captions}),
            "TrainCustomDiffusion": (TrainCustomDiffusion(**settings, **WORD), {"captions": captions, **texts}),
        }
        means = [_mean(item) for item in latents.items]
        for name in wanted:
            turns = Turns(BY_HAND[name](Bare(means, "flat style a thing of many words")))
            node, inputs = nodes[name]
            turns.began = time.process_time()
            node.run(model=model, latents=latents, context=replace(context, reporter=turns), **inputs)
            ours, bare = (1000 * statistics.median(times[WARM:]) for times in (turns.ours, turns.theirs))
            record(f"{name}, a step", ours, "ms of CPU")
            record(f"{name}, of the bare loop's speed", bare / ours, "x")
        cache.close()


def _mean(item: Any) -> torch.Tensor:
    from safetensors.torch import load_file

    return load_file(item.views[0].file)["mean"]


if __name__ == "__main__":
    main()
