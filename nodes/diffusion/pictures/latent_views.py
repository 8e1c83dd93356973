"""Descriptions of views for the model (SDXL's micro-conditioning); needs no torch."""

from pathlib import Path

from nodes.diffusion.handles.datasets import LatentView, Picture, View


def latent_view(picture: Picture, view: View, file: Path) -> LatentView:
    """Return the latents in `file` with what SDXL and the masked loss must know: the crop as it is seen, mirrored or not."""
    left = view.resized[0] - view.crop[0] - view.size[0] if view.flipped else view.crop[0]
    crop = (max(0, left), max(0, view.crop[1]))
    return LatentView(file, (picture.width, picture.height), crop, view.size, _valid(left, view))


def _valid(left: int, view: View) -> tuple[int, int, int, int] | None:
    """Return the place of the picture in a view that it does not fill."""
    if view.resized[0] >= view.size[0] and view.resized[1] >= view.size[1]:
        return None
    return -left, -view.crop[1], view.resized[0] - left, view.resized[1] - view.crop[1]
