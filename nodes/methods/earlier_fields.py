"""Fields that trainings had in earlier releases without an effect."""

from graph_runtime.migration import Migration

DENOISING_FIELDS = Migration(
    removed=frozenset(
        {
            "gradient_checkpointing",
            "sample_latents",
            "snr_gamma",
            "noise_offset",
            "zero_terminal_snr",
            "preview_every",
            "preview_prompt",
        }
    )
)
"""Settings of the denoising loss, which trainings of a VAE or of CLIP do not have."""
