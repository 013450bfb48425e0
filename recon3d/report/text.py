"""Numbers and statements in plain words, escaped for HTML."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence

from recon3d.report.stats import observation_errors
from recon3d.scene import Scale, Scene, View

_UNKNOWN = "\N{EN DASH}"


def escape(value: object) -> str:
    """Return ``str(value)`` safe inside HTML text and quoted attributes.

    Lone surrogates (file names that are no UTF-8) become question marks, so that the page can be encoded.
    """
    return html.escape(str(value).encode("utf-8", "replace").decode("utf-8"), quote=True)


def count(number: int, singular: str = "", plural: str = "") -> str:
    """Return ``12,345 points`` with the right grammatical number, or the bare number without a noun."""
    noun = singular if number == 1 else plural or (f"{singular}s" if singular else "")
    return f"{number:,} {noun}".rstrip()


def significant(value: float, digits: int = 3) -> str:
    """Return a number rounded to some significant digits, without an exponent where that is readable."""
    if not math.isfinite(value):
        return _UNKNOWN
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(value)))
    if not -5 < exponent < 7:
        return f"{value:.{digits - 1}e}"
    decimals = max(0, digits - 1 - exponent)
    return f"{value:,.{decimals}f}"


def length(value: float, scale: Scale, digits: int = 2) -> str:
    """Return a length in the scene's unit; metres become millimetres or centimetres where that reads better."""
    if not math.isfinite(value):
        return _UNKNOWN
    if scale.kind != "metric":
        return f"{significant(value, digits)} units"
    for limit, factor, unit in ((0.1, 1000.0, "mm"), (1.0, 100.0, "cm")):
        if abs(value) < limit:
            return f"{significant(value * factor, digits)} {unit}"
    return f"{significant(value, max(digits, 3))} m"


def length_range(low: float, high: float, scale: Scale) -> tuple[str, str]:
    """Return the two ends of a range of lengths in one unit of the scene, that of the longer one."""
    factor, unit = 1.0, "m" if scale.kind == "metric" else "units"
    if scale.kind == "metric":
        fits = ((0.1, 1000.0, "mm"), (1.0, 100.0, "cm"))
        factor, unit = next(((f, u) for limit, f, u in fits if max(abs(low), abs(high)) < limit), (1.0, "m"))
    texts = ("0" if value == 0 else f"{significant(value * factor, 3)} {unit}" for value in (low, high))
    return next(texts), next(texts)


def breakable(key: str) -> str:
    """Return a photo's key, escaped, that may break its line after the separators of a path."""
    return escape(key).replace("/", "/<wbr>").replace("_", "_<wbr>")


def seconds(value: float) -> str:
    """Return a duration such as ``0.4 s``, ``42 s`` or ``3 min 12 s``."""
    if not math.isfinite(value):
        return _UNKNOWN
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    return f"{whole} s" if whole < 120 else f"{whole // 60} min {whole % 60} s"


def scale_statement(scale: Scale) -> str:
    """Say what one unit of the model means and how sure that is."""
    if scale.kind == "relative":
        return (
            "The scale of this model is not known. Its units are arbitrary: proportions and angles can be trusted, "
            "lengths in metres cannot be read from it."
        )
    text = "One unit is one metre." + (f" Source: {scale.source}." if scale.source else "")
    if scale.interval_95 is None:
        return text
    low, high = (signed(100 * (factor - 1), 1) for factor in scale.interval_95)
    return f"{text} With 95 % confidence true lengths differ from those of the model by {low} % to {high} %."


def signed(value: float, decimals: int) -> str:
    """Return a number with its sign; a real minus sign, not a hyphen."""
    return f"{value:+.{decimals}f}".replace("-", "\N{MINUS SIGN}")


def plain_verdict(views: Sequence[View], scene: Scene | None) -> str:
    """Return the result in one sentence.

    Args:
        views: every input photo.
        scene: the reconstruction, or None where it was refused.
    """
    if scene is None:
        return f"No model that can be trusted was found in {count(len(views), 'photo')}."
    placed = f"{len(scene.registered):,} of {count(len(views), 'photo')} placed"
    errors = observation_errors(scene)
    quality = f", mean reprojection error {errors.mean():.2f} px" if len(errors) else ""
    return f"{placed}, {count(len(scene.points), 'point')}{quality}."
