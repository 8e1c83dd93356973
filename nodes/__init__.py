"""The palette that comes with Latent Loom: one folder per category, one file per node or family of nodes."""


def check_device(name: str) -> None:
    """Raise InputError when this machine lacks a device such as `cuda:1`."""
    from nodes.diffusion import devices

    devices.check_device(name)
