"""Hardware for training."""

import pytest
import torch

from otovox.learning.hardware import Hardware


@pytest.mark.parametrize(
    ("accelerator", "gpu", "cpu", "used"),
    [
        ("cpu", False, "AVX2", "32-true"),
        ("auto", False, "DEFAULT", "32-true"),
        ("cpu", False, "AVX512", "bf16-mixed"),
        ("auto", True, "AVX2", "bf16-mixed"),
        ("cpu", True, "AVX2", "32-true"),
    ],
)
def test_a_cpu_that_emulates_bfloat16_trains_in_float32(monkeypatch, accelerator, gpu, cpu, used):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: cpu)
    assert Hardware(accelerator).precision("bf16-mixed") == used
    assert Hardware(accelerator).precision("32-true") == "32-true"
