"""Facts of SD 1.x, SD 2.x and SDXL: how they are recognised, named and published; needs no torch."""

from nodes.diffusion.families.stable_diffusion.facts.sd1 import SD1
from nodes.diffusion.families.stable_diffusion.facts.sd2 import SD2
from nodes.diffusion.families.stable_diffusion.facts.sdxl import SDXL

FAMILIES = (SD1, SD2, SDXL)
