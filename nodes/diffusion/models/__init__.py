"""Parts of models in memory, and what their VAE and UNet need around them."""
