"""Facts of SD 1.x, SD 2.x and SDXL: names of tensors, published configurations; needs no torch."""
