"""The one loop that minimizes a loss: optimizers, schedules, averages and saved states. It knows no diffusion."""
