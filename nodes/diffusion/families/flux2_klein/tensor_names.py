"""Names of FLUX.2 klein's tensors in folders and in single files."""

from collections.abc import Iterable

from nodes.diffusion.families.protocol import Counterpart
from nodes.diffusion.families.tensor_names.autoencoder_kl import AutoencoderKLNames, vae_blocks
from nodes.diffusion.families.tensor_names.by_part import NamesByPart, SameNames
from nodes.diffusion.families.tensor_names.renaming import Renamed, RenamedLayers, fused

DOUBLE, DOUBLE_FILE = "transformer_blocks.*", "double_blocks.*"
SINGLE, SINGLE_FILE = "single_transformer_blocks.*", "single_blocks.*"


def _stream(stream: str, layers: tuple[str, str, str], out: str, norm: str, feed_forward: str) -> tuple[Renamed, ...]:
    """The rules of the picture's or the text's half of a double block."""
    attention, theirs = f"{DOUBLE}.attn", f"{DOUBLE_FILE}.{stream}_attn"
    return (
        *fused(attention, layers, f"{theirs}.qkv"),
        Renamed(f"{attention}.{out}", f"{theirs}.proj"),
        Renamed(f"{attention}.{norm}_q.weight", f"{theirs}.norm.query_norm.scale"),
        Renamed(f"{attention}.{norm}_k.weight", f"{theirs}.norm.key_norm.scale"),
        Renamed(f"{DOUBLE}.{feed_forward}.linear_in", f"{DOUBLE_FILE}.{stream}_mlp.0"),
        Renamed(f"{DOUBLE}.{feed_forward}.linear_out", f"{DOUBLE_FILE}.{stream}_mlp.2"),
    )


TRANSFORMER = RenamedLayers(
    (
        *_stream("img", ("to_q", "to_k", "to_v"), "to_out.0", "norm", "ff"),
        *_stream("txt", ("add_q_proj", "add_k_proj", "add_v_proj"), "to_add_out", "norm_added", "ff_context"),
        Renamed(f"{SINGLE}.attn.to_qkv_mlp_proj", f"{SINGLE_FILE}.linear1"),
        Renamed(f"{SINGLE}.attn.to_out", f"{SINGLE_FILE}.linear2"),
        Renamed(f"{SINGLE}.attn.norm_q.weight", f"{SINGLE_FILE}.norm.query_norm.scale"),
        Renamed(f"{SINGLE}.attn.norm_k.weight", f"{SINGLE_FILE}.norm.key_norm.scale"),
        Renamed("x_embedder", "img_in"),
        Renamed("context_embedder", "txt_in"),
        Renamed("time_guidance_embed.timestep_embedder.linear_1", "time_in.in_layer"),
        Renamed("time_guidance_embed.timestep_embedder.linear_2", "time_in.out_layer"),
        Renamed("double_stream_modulation_img.linear", "double_stream_modulation_img.lin"),
        Renamed("double_stream_modulation_txt.linear", "double_stream_modulation_txt.lin"),
        Renamed("single_stream_modulation.linear", "single_stream_modulation.lin"),
        Renamed("norm_out.linear", "final_layer.adaLN_modulation.1", "swapped"),
        Renamed("proj_out", "final_layer.linear"),
    )
)


class _VAENames(AutoencoderKLNames):
    """LDM's names, but for the convolutions around the latents, and the statistics of the latents' patches."""

    def to_file(self, name: str) -> Counterpart | None:
        if name.startswith("bn."):
            return Counterpart(name)
        if name.startswith(("quant_conv.", "post_quant_conv.")):
            return Counterpart(f"{'decoder' if name.startswith('post') else 'encoder'}.{name}")
        return super().to_file(name)

    def to_folder(self, name: str) -> tuple[Counterpart, ...]:
        if name.startswith("bn."):
            return (Counterpart(name),)
        for side in ("encoder.quant_conv.", "decoder.post_quant_conv."):
            if name.startswith(side):
                return (Counterpart(name.partition(".")[2]),)
        return super().to_folder(name)


PREFIXES = {
    "transformer": ("model.diffusion_model.", "diffusion_model.", ""),
    "vae": ("vae.", "first_stage_model.", ""),
}


def names(known: Iterable[str], language_model: str) -> NamesByPart:
    """Return the naming of a model that has these tensors; `language_model` is what files call its text encoder."""
    texts = (f"text_encoders.{language_model}.transformer.model.", "model.", "")
    parts = {"transformer": TRANSFORMER, "vae": _VAENames(vae_blocks(known)), "text_encoder": SameNames()}
    return NamesByPart("transformer", {**PREFIXES, "text_encoder": texts}, parts)
