"""What models in memory are made of: the one place where tests know how they are kept."""

import hashlib

import torch

from nodes.diffusion.models import parts


def forget_models() -> None:
    """Let go of every model in memory."""
    parts._resident.clear()


def weights() -> dict[str, str]:
    """Return for every tensor of every model in memory its sha256, whether it is trained, and whether its part is in training."""
    found: dict[str, str] = {}
    for key, model in parts._resident.items():
        lists = {name: part if isinstance(part, list) else [part] for name, part in vars(model).items()}
        for name, modules in lists.items():
            for number, module in enumerate(modules):
                if isinstance(module, torch.nn.Module):
                    for tensor_name, tensor in [*module.named_parameters(), *module.named_buffers()]:
                        content = tensor.detach().flatten().contiguous().view(torch.uint8).numpy()
                        state = f"{hashlib.sha256(content).hexdigest()} {tensor.requires_grad} {module.training}"
                        found[f"{key} {name} {number} {tensor_name}"] = state
    return found
