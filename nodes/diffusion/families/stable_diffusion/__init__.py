"""The CLIP-and-UNet family of Stable Diffusion: SD 1.x, SD 2.x and SDXL (Rombach et al. 2022, Podell et al. 2023)."""
