"""The public names of `nodes.diffusion`: all there, and none loaded before it is used."""

import pkgutil
import subprocess
import sys
from importlib import import_module

import pytest

from nodes import diffusion

ROOMS = [module.name for module in pkgutil.iter_modules(diffusion.__path__) if module.ispkg and module.name != "handles"]


def test_the_rooms_are_public() -> None:
    assert {*ROOMS, "handles"} <= set(dir(diffusion))


@pytest.mark.parametrize("room", ["", *ROOMS])
def test_every_public_name_is_there(room: str) -> None:
    package = import_module(f"nodes.diffusion.{room}".rstrip("."))
    assert package.__all__
    for name in package.__all__:
        assert getattr(package, name) is not None


def test_importing_loads_nothing_heavy() -> None:
    script = (
        "import sys; from nodes import diffusion; diffusion.training, diffusion.models, diffusion.merging\n"
        "heavy = {'torch', 'diffusers', 'transformers', 'peft', 'PIL', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert diffusion.choose_device('cpu').type == 'cpu'\n"
        "assert 'torch' in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
