"""Which precision a device works at."""

from __future__ import annotations

import pytest
import torch

from recon3d.pointcloud.detection.precision import autocast

CPU = torch.device("cpu")


def _kind(precision: str) -> torch.dtype:
    with autocast(precision, CPU):  # type: ignore[arg-type]
        return (torch.ones(4, 4) @ torch.ones(4, 4)).dtype


def test_precisions_by_name() -> None:
    assert _kind("float32") == torch.float32
    assert _kind("bfloat16") == torch.bfloat16


@pytest.mark.parametrize(("fast", "kind"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_asks_the_processor(monkeypatch: pytest.MonkeyPatch, fast: bool, kind: torch.dtype) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: fast)
    assert _kind("auto") == kind


def test_the_precision_ends_with_its_context() -> None:
    with autocast("bfloat16", CPU):
        pass
    assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
