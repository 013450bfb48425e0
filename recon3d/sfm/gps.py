"""GPS positions of photos as scale, heading and, where good enough, tilt of a model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Complex128, Float64, Int64

Geodetic = tuple[float, float, float | None]

# WGS84.
_SEMI_MAJOR = 6378137.0
_ECCENTRICITY_2 = 6.69437999014e-3
_MAX_SAMPLES = 1000
_INLIER_SIGMAS = 2.5
_MIN_INLIER_SHARE = 0.6
# What a receiver scatters: counts as two further measurements, so that three lucky photos do not look perfect.
_PRIOR_NOISE_M = 3.0
_PRIOR_COUNT = 2
_MAX_NOISE_SHARE = 0.25
_MAX_TILT_SIGMA = np.radians(1.0)


@dataclass(frozen=True, eq=False)
class GpsFit:
    """A model laid over its GPS positions.

    Args:
        new_from_old: similarity to metres, x east, y north, z up, ``[4,4]``.
        log_sigma: one standard deviation of the logarithm of the scale (Student quantile included).
        noise_m: scatter of GPS about the model per axis, metres.
        used: which of the given positions agreed, ``[n]``.
        tilt: whether GPS set the tilt too; otherwise the model's own z stayed up.
        origin: latitude, longitude in degrees and altitude in metres of the new origin, which is one of the photos.
    """

    new_from_old: Float64[np.ndarray, "4 4"]
    log_sigma: float
    noise_m: float
    used: Bool[np.ndarray, " n"]
    tilt: bool
    origin: tuple[float, float, float]


def ecef_from_geodetic(
    latitude: Float64[np.ndarray, " n"], longitude: Float64[np.ndarray, " n"], altitude: Float64[np.ndarray, " n"]
) -> Float64[np.ndarray, "n 3"]:
    """Return earth-centred, earth-fixed coordinates in metres (WGS84).

    Args:
        latitude: degrees north, ``[n]``.
        longitude: degrees east, ``[n]``.
        altitude: metres above the ellipsoid, ``[n]``.
    """
    phi, lam = np.radians(latitude), np.radians(longitude)
    normal = _SEMI_MAJOR / np.sqrt(1 - _ECCENTRICITY_2 * np.sin(phi) ** 2)
    across = (normal + altitude) * np.cos(phi)
    up = (normal * (1 - _ECCENTRICITY_2) + altitude) * np.sin(phi)
    return np.stack([across * np.cos(lam), across * np.sin(lam), up], -1)


def enu_from_geodetic(
    latitude: Float64[np.ndarray, " n"],
    longitude: Float64[np.ndarray, " n"],
    altitude: Float64[np.ndarray, " n"],
    origin: tuple[float, float, float],
) -> Float64[np.ndarray, "n 3"]:
    """Return metres east, north and up of ``origin`` (latitude, longitude in degrees, altitude in metres)."""
    start = ecef_from_geodetic(*(np.array([value]) for value in origin))
    phi, lam = np.radians(origin[0]), np.radians(origin[1])
    east = [-np.sin(lam), np.cos(lam), 0.0]
    north = [-np.sin(phi) * np.cos(lam), -np.sin(phi) * np.sin(lam), np.cos(phi)]
    up = [np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)]
    offset = ecef_from_geodetic(latitude, longitude, altitude) - start
    return np.asarray(np.einsum("ij,nj->ni", np.array([east, north, up]), offset))


def fit_gps(centers: Float64[np.ndarray, "n 3"], gps: Sequence[Geodetic | None], seed: int = 0) -> GpsFit | str:
    """Return the similarity that lays camera centres over GPS positions, or the reason why there is none.

    Scale and heading come from a robust fit in the plane that leaves z up; where all altitudes are known and the
    positions spread wide enough to know the tilt to one degree, a full similarity replaces it.

    Args:
        centers: camera centres in a levelled world, ``[n,3]``.
        gps: latitude, longitude in degrees and altitude in metres (or None) per camera; None where unknown. Positions
            off the Earth or at zero, zero count as unknown.
        seed: of the sampled hypotheses.
    """
    have = np.array([position is not None and _plausible(position) for position in gps], dtype=bool)
    known = [position for position in gps if position is not None and _plausible(position)]
    if len(known) < 3:
        return f"{len(known)} registered photos carry a GPS position, three are needed"
    altitude_known = all(alt is not None for _, _, alt in known)
    table = np.array([(lat, lon, alt if altitude_known and alt is not None else 0.0) for lat, lon, alt in known])
    # The photo nearest to the median in space: the median of longitudes means nothing at the date line.
    latitude, longitude, altitude = table.T
    xyz = ecef_from_geodetic(latitude, longitude, altitude)
    middle = np.argmin(np.linalg.norm(xyz - np.median(xyz, axis=0), axis=1))
    origin = (float(table[middle, 0]), float(table[middle, 1]), float(table[middle, 2]))
    enu = enu_from_geodetic(latitude, longitude, altitude, origin)
    generator = np.random.default_rng(seed)
    fits = [_full_fit(centers[have], enu, generator)] if altitude_known and len(known) >= 4 else []
    for fit in [*fits, _flat_fit(centers[have], enu, generator)]:
        if fit is not None and fit.problem == "":
            used = np.zeros(len(gps), dtype=bool)
            used[np.flatnonzero(have)[fit.inlier]] = True
            return GpsFit(fit.similarity, fit.log_sigma, fit.noise, used, fit.axes == 3, origin)
    return fit.problem if fit is not None else "the GPS positions coincide"


def _plausible(position: Geodetic) -> bool:
    """Return whether a position is on Earth and not the zeros that some devices write when they have no fix."""
    latitude, longitude, altitude = position
    finite = np.isfinite([latitude, longitude, altitude or 0.0]).all()
    return bool(finite and abs(latitude) <= 90 and abs(longitude) <= 180 and (latitude, longitude) != (0.0, 0.0))


@dataclass(frozen=True, eq=False)
class _Fit:
    """A least-squares similarity over its inliers, in ``axes`` dimensions, and what speaks against it."""

    similarity: Float64[np.ndarray, "4 4"]
    inlier: Int64[np.ndarray, " k"]
    noise: float
    log_sigma: float
    axes: int
    problem: str


def _flat_fit(
    centers: Float64[np.ndarray, "n 3"], enu: Float64[np.ndarray, "n 3"], generator: np.random.Generator
) -> _Fit | None:
    """Fit scale, heading and translation; in the plane a similarity is one complex factor and one offset."""
    a, b = centers[:, 0] + 1j * centers[:, 1], enu[:, 0] + 1j * enu[:, 1]
    pairs = _samples(len(a), 2, generator)
    step = a[pairs[:, 1]] - a[pairs[:, 0]]
    pairs, step = pairs[step != 0], step[step != 0]
    if len(pairs) == 0 or np.ptp(b.real) + np.ptp(b.imag) == 0:
        return None
    factor = (b[pairs[:, 1]] - b[pairs[:, 0]]) / step
    offset = b[pairs[:, 0]] - factor * a[pairs[:, 0]]
    residual = np.abs(b - factor[:, None] * a - offset[:, None])
    inlier = _inliers(residual[np.argmin(np.median(residual, axis=1))])
    turn, shift = _complex_fit(a[inlier], b[inlier])
    similarity = np.eye(4)
    similarity[:2, :2] = [[turn.real, -turn.imag], [turn.imag, turn.real]]
    similarity[2, 2] = abs(turn)
    height = np.median(enu[inlier, 2] - abs(turn) * centers[inlier, 2])
    similarity[:3, 3] = [shift.real, shift.imag, height]
    return _judged(similarity, inlier, centers, enu, axes=2)


def _complex_fit(a: Complex128[np.ndarray, " k"], b: Complex128[np.ndarray, " k"]) -> tuple[complex, complex]:
    centred = a - a.mean()
    factor = complex((centred.conj() * (b - b.mean())).sum() / max(float((np.abs(centred) ** 2).sum()), 1e-300))
    return factor, complex(b.mean() - factor * a.mean())


def _full_fit(
    centers: Float64[np.ndarray, "n 3"], enu: Float64[np.ndarray, "n 3"], generator: np.random.Generator
) -> _Fit | None:
    """Fit all seven parameters; None where the tilt would be uncertain by more than a degree."""
    triples = _samples(len(centers), 3, generator)
    similarity = umeyama(centers[triples], enu[triples])
    moved = np.einsum("sij,nj->sni", similarity[:, :3, :3], centers) + similarity[:, None, :3, 3]
    residual = np.linalg.norm(moved - enu, axis=2)
    inlier = _inliers(residual[np.argmin(np.median(residual, axis=1))])
    fit = _judged(umeyama(centers[inlier], enu[inlier]), inlier, centers, enu, axes=3)
    spread = np.linalg.svd(enu[inlier] - enu[inlier].mean(0), compute_uv=False)
    return fit if fit.noise <= _MAX_TILT_SIGMA * spread[1] else None


def umeyama(
    a: Float64[np.ndarray, "*batch n 3"], b: Float64[np.ndarray, "*batch n 3"]
) -> Float64[np.ndarray, "*batch 4 4"]:
    """Return the least-squares similarity ``b = s R a + t`` (Umeyama 1991).

    Args:
        a: points, ``[...,n,3]``.
        b: their counterparts, ``[...,n,3]``.
    """
    mean_a, mean_b = a.mean(-2, keepdims=True), b.mean(-2, keepdims=True)
    u, singular, vt = np.linalg.svd(np.einsum("...ni,...nj->...ij", b - mean_b, a - mean_a))
    sign = np.ones_like(singular)
    sign[..., 2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    scale = (singular * sign).sum(-1) / np.maximum(((a - mean_a) ** 2).sum((-2, -1)), 1e-300)
    similarity = np.zeros((*a.shape[:-2], 4, 4))
    similarity[..., :3, :3] = np.einsum("...ij,...j,...jk,...->...ik", u, sign, vt, scale)
    similarity[..., :3, 3] = mean_b[..., 0, :] - np.einsum(
        "...ij,...j->...i", similarity[..., :3, :3], mean_a[..., 0, :]
    )
    similarity[..., 3, 3] = 1.0
    return similarity


def _moved(similarity: Float64[np.ndarray, "4 4"], xyz: Float64[np.ndarray, "n 3"]) -> Float64[np.ndarray, "n 3"]:
    return np.asarray(np.einsum("ij,nj->ni", similarity[:3, :3], xyz) + similarity[:3, 3])


def _samples(n: int, size: int, generator: np.random.Generator) -> Int64[np.ndarray, "s size"]:
    """Return index tuples of distinct members: all of them where they are few, else a random sample."""
    from itertools import combinations
    from math import comb

    if comb(n, size) <= _MAX_SAMPLES:
        return np.array(list(combinations(range(n), size)))
    return np.stack([generator.choice(n, size, replace=False) for _ in range(_MAX_SAMPLES)])


def _inliers(residual: Float64[np.ndarray, " n"]) -> Int64[np.ndarray, " k"]:
    # The median distance is 0.85 sigmas per axis or more; one metre of scatter never makes an outlier.
    limit = max(_INLIER_SIGMAS * 1.4826 * float(np.median(residual)), 1.0)
    return np.flatnonzero(residual <= limit)


def _judged(
    similarity: Float64[np.ndarray, "4 4"],
    inlier: Int64[np.ndarray, " k"],
    centers: Float64[np.ndarray, "n 3"],
    enu: Float64[np.ndarray, "n 3"],
    axes: int,
) -> _Fit:
    """Return a fit with its noise, the sigma of its scale, and the reason to refuse it."""
    from scipy.stats import t

    error = (_moved(similarity, centers[inlier]) - enu[inlier])[:, :axes]
    redundancy = axes * len(inlier) - (4 if axes == 2 else 7)
    noise = np.sqrt(((error**2).sum() + _PRIOR_COUNT * _PRIOR_NOISE_M**2) / (redundancy + _PRIOR_COUNT))
    across = (enu[inlier] - enu[inlier].mean(0))[:, :axes]
    spread = max(float(np.sqrt((across**2).sum())), 1e-12)
    # Student's quantile at 97.5 per cent, divided by the normal one: few photos, wide interval.
    log_sigma = float(noise / spread * t.ppf(0.975, redundancy + _PRIOR_COUNT) / 1.959964)
    problem = ""
    if len(inlier) < max(3, _MIN_INLIER_SHARE * len(enu)):
        problem = f"only {len(inlier)} of {len(enu)} GPS positions agree with the cameras"
    elif noise > _MAX_NOISE_SHARE * spread / np.sqrt(len(inlier)):
        size = spread / np.sqrt(len(inlier))
        problem = f"the photos spread over {size:.1f} m, too little for GPS that scatters by {noise:.1f} m"
    return _Fit(similarity, inlier, float(noise), log_sigma, axes, problem)
