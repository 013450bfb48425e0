"""The back end for CUDA: how gsplat is called, and what happens where it does not work. A stand-in plays gsplat."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import fake_gsplat
import pytest
import torch
from small_gaussians import FIELDS, HEIGHT, WIDTH, as_dtype, camera, random_scene, requiring_gradients

from recon3d.core.errors import DependencyError, UsageError
from recon3d.render.gaussians import RasterOptions, cuda, dispatch, project, rasterize
from recon3d.render.gaussians.dispatch import resolve
from recon3d.render.spherical_harmonics import spherical_harmonics

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
MISSING = "gsplat is not installed"


@pytest.fixture(autouse=True)
def fresh_answers() -> Iterator[None]:
    """What was found out about gsplat, and said about it, is forgotten around each test."""
    for cached in (cuda.why_not, dispatch.warn_once):
        cached.cache_clear()
    yield
    for cached in (cuda.why_not, dispatch.warn_once):
        cached.cache_clear()


@pytest.fixture
def gsplat(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """A stand-in in the place of the module, and every call goes to it although the tensors are on the CPU."""
    names = (
        "spherical_harmonics",
        "fully_fused_projection",
        "isect_tiles",
        "isect_offset_encode",
        "rasterize_to_pixels",
    )
    module = SimpleNamespace(**{name: getattr(fake_gsplat, name) for name in names})
    monkeypatch.setitem(sys.modules, "gsplat", module)
    monkeypatch.setattr(dispatch, "resolve", lambda *_: "gsplat")
    return module


@pytest.fixture
def no_gsplat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gsplat", None)


@pytest.mark.usefixtures("gsplat")
@pytest.mark.parametrize("bounds", ["tight", "gsplat"])
@pytest.mark.parametrize("antialiased", [False, True])
@pytest.mark.parametrize("n_channels", [None, 1, 7, 45])
def test_pictures_and_gradients_are_those_of_plain_torch(
    n_channels: int | None, antialiased: bool, bounds: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = as_dtype(random_scene(40, degree=2), torch.float32)
    source = torch.Generator().manual_seed(n_channels or 0)
    features = None if n_channels is None else torch.rand(40, n_channels, generator=source)
    background = torch.rand(n_channels or 3, generator=source)
    found = []
    for backend in ("gsplat", "torch"):
        monkeypatch.setattr(dispatch, "resolve", lambda *_, name=backend: name)
        gaussians, view = requiring_gradients(scene), camera(2, torch.float32)
        leaves = [*(getattr(gaussians, name) for name in FIELDS), view.cam_from_world.requires_grad_()]
        seen = rasterize(
            gaussians,
            view,
            features=features,
            background=background.requires_grad_(),
            antialiased=antialiased,
            bounds=bounds,  # type: ignore[arg-type]
        )
        background.grad = None
        (seen.image.square().sum() + seen.depth_expected.sum() + seen.alpha.sum()).backward()
        assert background.grad is not None
        found.append((seen, [leaf.grad for leaf in leaves], background.grad.clone()))
    (ours, our_grads, our_back), (wanted, grads, back) = found
    for name in ("image", "alpha", "depth_expected", "depth_median"):
        assert torch.allclose(getattr(ours, name), getattr(wanted, name), atol=1e-5), name
    for got, want in zip([*our_grads, our_back], [*grads, back], strict=True):
        assert (got is None and want is None) or torch.allclose(got, want, rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("gsplat")
def test_radii_shrink_to_the_opacity_but_never_below_it() -> None:
    scene, view = as_dtype(random_scene(60), torch.float32), camera(1, torch.float32)
    seen = rasterize(scene, view).projections[0].radii
    where = (scene.means, scene.quats, scene.log_scales, view.cam_from_world[0], view.K[0], WIDTH, HEIGHT)
    loose = project(*where).radii
    exact = cuda.reference.project(*where, opacities=scene.opacities, options=RasterOptions().projection()).radii
    assert (seen >= exact).all() and (seen <= exact + 1).all() and (seen < loose).any()


@pytest.mark.usefixtures("gsplat")
def test_what_gsplat_leaves_uninitialised_never_comes_out() -> None:
    scene = as_dtype(random_scene(30), torch.float32)
    scene.means[:10, 2] *= -1
    scene.means[10] = 0
    seen = rasterize(requiring_gradients(scene), camera(1, torch.float32))
    seen.image.sum().backward()
    projection = seen.projections[0]
    assert seen.image.isfinite().all() and projection.means2d.isfinite().all()
    assert projection.means2d.grad is not None and projection.means2d.grad.isfinite().all()


@pytest.mark.usefixtures("gsplat")
def test_nothing_at_all_needs_no_kernel() -> None:
    empty = as_dtype(random_scene(0), torch.float32)
    assert not rasterize(empty, camera(1, torch.float32)).alpha.any()
    assert spherical_harmonics(empty.means, empty.sh, 1).shape == (0, 3)


@pytest.mark.parametrize("name", ["max_alpha", "min_alpha", "min_transmittance"])
def test_rules_that_gsplat_lacks_are_kept_by_plain_torch_with_one_warning(
    gsplat: SimpleNamespace, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    del gsplat.rasterize_to_pixels
    scene, view = as_dtype(random_scene(20), torch.float32), camera(1, torch.float32)
    rules = RasterOptions(**{name: 0.02 if name != "max_alpha" else 0.7})  # type: ignore[arg-type]
    with caplog.at_level(logging.WARNING):
        pictures = [rasterize(scene, view, options=rules).image for _ in range(2)]
    assert torch.equal(pictures[0], pictures[1])
    assert [record.getMessage() for record in caplog.records if name in record.getMessage()] == caplog.messages
    assert len(caplog.messages) == 1 and "plain torch" in caplog.messages[0]


@pytest.mark.usefixtures("gsplat")
def test_a_working_gsplat_is_recognised() -> None:
    assert cuda.why_not(CPU) == ""


@pytest.mark.usefixtures("no_gsplat")
def test_a_missing_gsplat_is_named() -> None:
    assert cuda.why_not(CPU) == MISSING


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (RuntimeError("no kernel image\nCompile with TORCH_USE_CUDA_DSA"), "RuntimeError: no kernel image"),
        (AttributeError("'NoneType' object has no attribute 'x'"), "AttributeError: 'NoneType' object has no"),
        (OSError("CUDA_HOME environment variable is not set"), "OSError: CUDA_HOME environment variable is not set"),
        (subprocess.CalledProcessError(1, ["ninja"]), "its kernels do not compile: Command '['ninja']'"),
        (ImportError(), "ImportError: no message"),
    ],
)
def test_a_gsplat_that_cannot_compile_says_why(gsplat: SimpleNamespace, error: Exception, reason: str) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    gsplat.fully_fused_projection = fail
    assert cuda.why_not(CPU).startswith(reason)


def test_a_gsplat_that_renders_nonsense_is_found_out(gsplat: SimpleNamespace) -> None:
    def black(*arguments: object, **more: object) -> tuple[torch.Tensor, torch.Tensor]:
        image, alpha = fake_gsplat.rasterize_to_pixels(*arguments, **more)  # type: ignore[arg-type]
        return image * 0, alpha * 0

    gsplat.rasterize_to_pixels = black
    assert cuda.why_not(CPU) == "it renders an alpha of 0.0000 where 0.5 is right"


@pytest.mark.parametrize(
    ("device", "dtype", "reason", "name"),
    [
        (CPU, torch.float32, MISSING, "numba"),
        (CPU, torch.float64, MISSING, "torch"),
        (CPU, torch.bfloat16, MISSING, "torch"),
        (CUDA, torch.float32, "", "gsplat"),
        (CUDA, torch.float32, MISSING, "torch"),
        (CUDA, torch.float64, "", "torch"),
        (torch.device("mps"), torch.float32, "", "torch"),
    ],
)
def test_auto(
    device: torch.device, dtype: torch.dtype, reason: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuda, "why_not", lambda _: reason)
    assert resolve("auto", device, dtype) == name


@pytest.mark.usefixtures("no_gsplat")
def test_falling_back_from_gsplat_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert [resolve("auto", CUDA, torch.float32) for _ in range(3)] == ["torch"] * 3
    assert len(caplog.messages) == 1
    assert caplog.messages[0].endswith(f"because gsplat does not work: {MISSING}")


@pytest.mark.usefixtures("no_gsplat")
def test_a_back_end_asked_for_by_name_is_taken_or_refused() -> None:
    assert resolve("torch", CUDA, torch.float32) == resolve("torch", CPU, torch.float16) == "torch"
    assert resolve("numba", CPU, torch.float32) == "numba"
    with pytest.raises(
        UsageError, match=r"numba does not take such tensors; got: torch.float64 on cpu; expected: float32"
    ):
        resolve("numba", CPU, torch.float64)
    with pytest.raises(UsageError, match=r"got: torch.float32 on cuda; expected: float32 on cpu"):
        resolve("numba", CUDA, torch.float32)
    with pytest.raises(UsageError, match="gsplat does not take such tensors"):
        resolve("gsplat", CPU, torch.float32)
    with pytest.raises(DependencyError, match=f"got: {MISSING}; to fix: pip install"):
        resolve("gsplat", CUDA, torch.float32)


@pytest.mark.usefixtures("without_shape_checks")
def test_an_unknown_back_end() -> None:
    with pytest.raises(UsageError, match="no such back end; got: vulkan; expected: auto, numba, gsplat, torch"):
        resolve("vulkan", CPU, torch.float32)  # type: ignore[arg-type]
