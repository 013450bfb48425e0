"""The bridge to PyTorch3D, against a stand-in of its functions; and which back end is taken."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from typing import Any

import fake_pytorch3d
import pytest
import torch
from hypothesis import given, settings, strategies as st
from small_meshes import small_cameras, triangle_soup

from recon3d.core.errors import DependencyError, UsageError
from recon3d.render.gaussians import dispatch as warnings
from recon3d.render.mesh import cuda, rasterize_mesh
from recon3d.render.mesh.dispatch import module_for, resolve

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MISSING = "pytorch3d is not installed"


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    cuda.why_not.cache_clear()
    warnings.warn_once.cache_clear()
    yield
    cuda.why_not.cache_clear()
    warnings.warn_once.cache_clear()


@pytest.fixture
def pytorch3d(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, module in fake_pytorch3d.modules().items():
        monkeypatch.setitem(sys.modules, name, module)
    return sys.modules["pytorch3d.renderer.mesh.rasterize_meshes"]


@pytest.fixture
def no_pytorch3d(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pytorch3d", None)
    monkeypatch.setattr(cuda, "import_module", _missing)


def _missing(name: str) -> None:
    raise ModuleNotFoundError(name=name.split(".")[0])


@settings(max_examples=5)
@given(st.integers(0, 1000), st.sampled_from([0.6, 3.0]))
def test_it_sees_what_the_oracle_sees(seed: int, depth: float) -> None:
    """Batches, oblong images, and faces that reach behind the camera; single precision moves a few pixels."""
    vertices, faces = triangle_soup(seed, depth=depth, dtype=torch.float32)
    with pytest.MonkeyPatch.context() as patch:
        for name, module in fake_pytorch3d.modules().items():
            patch.setitem(sys.modules, name, module)
        found = [
            rasterize_mesh(vertices, faces, small_cameras(3, torch.float32), backend=backend)  # type: ignore[arg-type]
            for backend in ("pytorch3d", "torch")
        ]
    same = found[0].face == found[1].face
    assert same.float().mean() > 0.98
    assert torch.allclose(found[0].depth[same], found[1].depth[same])
    assert found[0].mask.any()


@pytest.mark.usefixtures("pytorch3d")
def test_gradients_pass_and_nothing_needs_no_kernel() -> None:
    assert cuda.why_not(CPU) == ""
    vertices, faces = triangle_soup(0, dtype=torch.float32)
    vertices.requires_grad_()
    seen = rasterize_mesh(vertices, faces, small_cameras(1, torch.float32), backend="pytorch3d")
    seen.depth.sum().backward()
    assert vertices.grad is not None and vertices.grad.abs().sum() > 0
    assert not rasterize_mesh(vertices, faces[:0], small_cameras(1, torch.float32), backend="pytorch3d").mask.any()


def test_a_broken_one_says_why(pytorch3d: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("Not compiled with GPU support\nmore")

    def blind(*arguments: Any, **more: Any) -> Any:
        found, *rest = fake_pytorch3d.rasterize_meshes(*arguments, **more)
        return (found * 0 - 1, *rest)

    monkeypatch.setattr(pytorch3d, "rasterize_meshes", fail)
    assert cuda.why_not(CPU) == "RuntimeError: Not compiled with GPU support"
    cuda.why_not.cache_clear()
    monkeypatch.setattr(pytorch3d, "rasterize_meshes", blind)
    assert cuda.why_not(CPU) == "it does not see a face that fills the picture"


@pytest.mark.parametrize(
    ("device", "dtype", "reason", "name"),
    [
        (CPU, torch.float32, MISSING, "numba"),
        (CPU, torch.float64, MISSING, "numba"),
        (CPU, torch.bfloat16, MISSING, "torch"),
        (CUDA, torch.float32, "", "pytorch3d"),
        (CUDA, torch.float32, MISSING, "torch"),
        (torch.device("mps"), torch.float32, "", "torch"),
    ],
)
def test_auto(
    device: torch.device, dtype: torch.dtype, reason: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "why_not", lambda _: reason)
    assert resolve("auto", device, dtype) == name


@pytest.mark.usefixtures("no_pytorch3d")
def test_without_it_plain_torch_is_taken_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    assert cuda.why_not(CPU) == MISSING
    with caplog.at_level(logging.WARNING):
        assert [resolve("auto", CUDA, torch.float32) for _ in range(3)] == ["torch"] * 3
    assert len(caplog.messages) == 1 and caplog.messages[0].endswith(f"because PyTorch3D does not work: {MISSING}")
    with pytest.raises(
        DependencyError, match=f"PyTorch3D does not work here; got: {MISSING}; to fix: see docs/install"
    ):
        resolve("pytorch3d", CUDA, torch.float32)
    with pytest.raises(UsageError, match=r"numba does not take such tensors; got: torch.float16 on cpu"):
        resolve("numba", CPU, torch.float16)
    like = torch.zeros(1)
    assert module_for("auto", like).__name__.endswith("cpu")
    assert module_for("pytorch3d", like).__name__.endswith("reference")
