"""Programs that load the files written here, for help texts and the guide. No torch.

From the programs' sources; diffusers is tried by the tests: AUTOMATIC1111 1.10, ComfyUI of October 2025, sd-scripts of
February 2026 with its own `networks.lora` (LyCORIS is a module beside it), diffusers 0.42.
"""

from dataclasses import dataclass

PROGRAMS = ("AUTOMATIC1111", "ComfyUI", "sd-scripts", "diffusers")
YES, NO, UNCHECKED = "yes", "no", "not checked"
LYCORIS = "reads it with LyCORIS' module"


@dataclass(frozen=True)
class Written:
    """One kind of file, and for each of PROGRAMS whether or how it loads it."""

    name: str
    readers: tuple[str, str, str, str]

    @property
    def sentence(self) -> str:
        """Return the sentence of help texts on the programs that load it."""
        cells = list(zip(PROGRAMS, self.readers, strict=True))
        loading, missing, unchecked = ([program for program, cell in cells if cell == word] for word in (YES, NO, UNCHECKED))
        parts = [
            _listed(loading),
            *(f"{program} {cell}" for program, cell in cells if cell not in (YES, NO, UNCHECKED)),
            f"not {_listed(missing)}" if missing else "",
            f"{_listed(unchecked)} not checked" if unchecked else "",
        ]
        return f"{self.name}: {'; '.join(part for part in parts if part)}."


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), *names[-1:]] if len(names) > 1 else names)


FILES = {
    "lora": Written("LoRA and rsLoRA (kohya layout)", (YES, YES, YES, YES)),
    "locon": Written("LoCon (kohya layout)", (YES, YES, YES, YES)),
    "loha": Written("LoHa and LoKr", (YES, YES, LYCORIS, NO)),
    "dora": Written("DoRA", (YES, YES, "takes it for a plain LoRA but with LyCORIS' module", "takes it for a plain LoRA")),
    "others": Written("GLoRA, (IA)3 and changes of norms", (YES, "reads GLoRA and norms, not (IA)3", LYCORIS, NO)),
    "diffusers": Written("LoRA (diffusers layout)", (NO, NO, NO, YES)),
    "flow lora": Written("LoRA of Z-Image and FLUX.2 klein (kohya layout: PEFT's leaves, alpha inside)", (NO, YES, NO, YES)),
    "flow lycoris": Written("LoHa, LoKr and DoRA of Z-Image and FLUX.2 klein", (NO, UNCHECKED, NO, NO)),
    "embedding": Written("Embedding (safetensors)", (YES, YES, YES, "reads it when `token=` names the word")),
    "embedding a1111": Written("Embedding (A1111)", (YES, YES, YES, YES)),
    "embedding diffusers": Written("Embedding (diffusers)", (YES, YES, UNCHECKED, YES)),
    "hypernetwork": Written(
        "Hypernetwork",
        (YES, "knows ten activations, and drops numbers in drawing where training had dropout", NO, NO),
    ),
    "custom diffusion": Written(
        "Custom diffusion (.bin)",
        (NO, NO, NO, "reads it with `load_attn_procs(..., _pipeline=pipe)`, and without that changes nothing unsaid"),
    ),
    "checkpoint": Written("Checkpoint in one file", (YES, YES, YES, YES)),
    "folder": Written("Folder of SavePipeline", (NO, UNCHECKED, UNCHECKED, YES)),
}


def table() -> str:
    """Return the table in Markdown."""
    rows = [("what is written", *PROGRAMS), ("---",) * 5, *((file.name, *file.readers) for file in FILES.values())]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
