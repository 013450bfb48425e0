"""The back-end registry: which library answers for which primitive on this machine, and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version

from recon3d.core.errors import DependencyError, UsageError


@dataclass(frozen=True)
class Backend:
    """One candidate for a primitive, as found on this machine.

    Args:
        name: what the user writes after ``backend=``.
        available: it can be used now.
        reason: why, or why not, in plain words.
        install: the command that makes it available; empty where there is none.
    """

    name: str
    available: bool
    reason: str
    install: str = ""


def primitives() -> tuple[str, ...]:
    """Return the primitives that have a back end in this version, in the order in which a reconstruction needs them."""
    return tuple(_CANDIDATES)


def candidates(primitive: str) -> tuple[Backend, ...]:
    """Return the back ends of a primitive as this machine has them, best first.

    Raises:
        UsageError: there is no such primitive.
    """
    if primitive not in _CANDIDATES:
        raise UsageError("there is no such primitive", got=primitive, expected=", ".join(_CANDIDATES))
    return tuple(probe() for probe in _CANDIDATES[primitive])


def choose(primitive: str, backend: str = "auto") -> Backend:
    """Return the back end that a primitive uses.

    Args:
        primitive: one of :func:`primitives`.
        backend: a back end's name, or ``auto`` for the first that is available.

    Raises:
        UsageError: the primitive or the back end is unknown.
        DependencyError: it is not available; the text holds the command that installs it.
    """
    found = candidates(primitive)
    named = found if backend == "auto" else tuple(one for one in found if one.name == backend)
    if not named:
        names = ", ".join(["auto", *(one.name for one in found)])
        raise UsageError(f"{primitive} has no such back end", got=backend, expected=names)
    for one in named:
        if one.available:
            return one
    first = named[0]
    raise DependencyError(f"{primitive} needs {first.name}", got=first.reason, fix=first.install or None)


def _probe(name: str, module: str, package: str, install: str) -> Backend:
    """Import ``module`` (only that tells whether it works) and report the version of ``package``."""
    try:
        import_module(module)
        return Backend(name, True, f"{package} {version(package)}", install)
    except PackageNotFoundError:
        return Backend(name, True, f"{package}, version unknown", install)
    except ModuleNotFoundError as error:
        return Backend(name, False, f"{error.name} is not installed", install)
    except (ImportError, OSError) as error:
        return Backend(name, False, f"{module} is installed but does not load: {error}", install)


def _pycolmap() -> Backend:
    found = _probe("pycolmap", "pycolmap", "pycolmap", "pip install 'pycolmap>=4.2'")
    if not found.available:
        return found
    has_cuda = getattr(import_module("pycolmap"), "has_cuda", False)
    return Backend("pycolmap", True, f"{found.reason}, {'with' if has_cuda else 'without'} CUDA", found.install)


def _pillow() -> Backend:
    return _probe("pillow", "PIL.Image", "pillow", "pip install 'pillow>=11'")


def _pillow_heif() -> Backend:
    return _probe("pillow-heif", "pillow_heif", "pillow-heif", "pip install 'recon3d[heic]'")


def _pyav() -> Backend:
    return _probe("pyav", "av", "av", "pip install 'recon3d[video]'")


def _cuda() -> Backend:
    install = "install a CUDA build of torch, see https://pytorch.org/get-started"
    found = _probe("cuda", "torch", "torch", install)
    if not found.available:
        return found
    torch = import_module("torch")
    if torch.cuda.is_available():
        return Backend("cuda", True, f"{found.reason} on {torch.cuda.get_device_name(0)}")
    if torch.version.cuda is None:
        return Backend("cuda", False, f"{found.reason} is built without CUDA", install)
    return Backend("cuda", False, f"{found.reason} finds no CUDA device")


def _cpu() -> Backend:
    return _probe("cpu", "torch", "torch", "pip install 'torch>=2.6'")


def _gsplat() -> Backend:
    found = _probe("gsplat", "gsplat", "gsplat", "pip install 'recon3d[cuda]'")
    if not found.available:
        return found
    if not _cuda().available:
        return Backend("gsplat", False, f"{found.reason} needs a CUDA device, and torch finds none", found.install)
    return Backend("gsplat", True, f"{found.reason} for CUDA tensors, compiled at its first use", found.install)


def _pytorch3d() -> Backend:
    found = _probe("pytorch3d", "pytorch3d", "pytorch3d", "see docs/install.md: it is built from source")
    if found.available and not _cuda().available:
        return Backend("pytorch3d", False, f"{found.reason} is for CUDA, and torch finds no device", found.install)
    return found


def _spconv() -> Backend:
    found = _probe("spconv", "spconv.pytorch", "spconv-cu120", "pip install 'spconv-cu120>=2.3.8'")
    if found.available and not _cuda().available:
        return Backend("spconv", False, f"{found.reason} needs a CUDA device, and torch finds none", found.install)
    return found


def _numba() -> Backend:
    found = _probe("numba", "numba", "numba", "pip install 'numba>=0.61'")
    return replace(found, reason=f"{found.reason} for float32 on the CPU") if found.available else found


def _torch() -> Backend:
    found = _probe("torch", "torch", "torch", "pip install 'torch>=2.6'")
    return replace(found, reason=f"{found.reason} for everything else, slow") if found.available else found


_CANDIDATES: dict[str, tuple[Callable[[], Backend], ...]] = {
    "images": (_pillow,),
    "heic": (_pillow_heif,),
    "video": (_pyav,),
    "features": (_pycolmap,),
    "matching": (_pycolmap,),
    "mapping": (_pycolmap,),
    "gaussians": (_gsplat, _numba, _torch),
    "triangles": (_pytorch3d, _numba, _torch),
    "rays": (_numba,),
    "sparse convolution": (_spconv, _numba, _torch),
    "device": (_cuda, _cpu),
}
