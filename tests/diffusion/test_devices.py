"""Which device and precision is chosen on machines that nobody here has: cards answer as theirs do."""

import pytest
import torch

from nodes.diffusion.devices import (
    check_device,
    choose_device,
    drawing_precision,
    encoding_precision,
    free_memory,
    training_precision,
)
from nodes.diffusion.errors import InputError

CPU, CARD = torch.device("cpu"), torch.device("cuda", 1)


@pytest.fixture
def two_cards(monkeypatch: pytest.MonkeyPatch) -> None:
    """An H100 is the current card, the other a T4; both say that they support bf16."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5) if device.index else (9, 0))


@pytest.mark.usefixtures("two_cards")
def test_a_card_that_emulates_bf16_is_not_given_it() -> None:
    t4, h100 = choose_device("cuda:1"), choose_device("cuda:0")
    assert (training_precision(h100, "auto"), training_precision(t4, "auto")) == ("bf16", "fp16")
    assert (drawing_precision(h100, "auto"), drawing_precision(t4, "auto")) == ("bf16", "fp16")
    assert (encoding_precision(h100, "auto"), encoding_precision(t4, "auto")) == ("bf16", "fp32"), "SDXL's VAE overflows in fp16"
    assert training_precision(t4, "bf16") == drawing_precision(t4, "bf16") == encoding_precision(t4, "bf16") == "bf16"


@pytest.mark.usefixtures("two_cards")
def test_one_card_has_one_name() -> None:
    assert choose_device("cuda") == choose_device("auto") == torch.device("cuda:0")
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert choose_device("cpu:0") == CPU


@pytest.mark.usefixtures("two_cards")
def test_a_device_that_is_not_there_is_named() -> None:
    check_device("cuda:1")
    with pytest.raises(InputError, match=r"^this machine has 2 CUDA devices, so there is no cuda:2\.$"):
        check_device("cuda:2")


def test_a_cpu_draws_and_encodes_as_ever() -> None:
    assert drawing_precision(CPU, "auto") == encoding_precision(CPU, "auto") == "fp32"
    assert free_memory(CPU) is None


def test_free_memory_counts_what_torch_holds_unused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100, 1000))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 50)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 20)
    assert free_memory(CARD) == 130
