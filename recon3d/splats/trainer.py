"""One optimisation in progress: its state, its steps, and how it falls back when a step goes wrong."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped
from torch import Tensor

from recon3d.core.errors import InputError, ResultError
from recon3d.core.seeds import generator
from recon3d.render.gaussians import Gaussians, RasterOptions, rasterize
from recon3d.render.gaussians.options import GaussianBackend
from recon3d.render.image_loss import PhotometricLoss, photometric_loss
from recon3d.splats.adam import Moments, is_finite
from recon3d.splats.exposure import centred, regularised
from recon3d.splats.mcmc import plan_moves, wander
from recon3d.splats.model import Model
from recon3d.splats.options import SplatOptions
from recon3d.splats.poses import moved
from recon3d.splats.rates import Rates
from recon3d.splats.schedule import Schedule
from recon3d.splats.targets import Target

_LOG = logging.getLogger(__name__)
MAX_FAILURES = 8
COLOUR_PULL = 1e-3
COLOURS_FROM = 0.05
POSES_FROM = 0.1
NOISE_SCALE = 5e5
FAINT_LOGIT = -2.0  # opacity 0.12; above it the noise is below 1e-5 of its full size
Arrays = dict[str, Shaped[np.ndarray, "..."]]


@dataclass(frozen=True, eq=False)
class Setting:
    """What stays the same during one optimisation.

    Args:
        options: what the user asked for.
        schedule: what happens when.
        levels: the photos to learn from, at each image size of the schedule.
        rates: learning rates.
        near: distance in front of the cameras that stays empty, in units of the frame.
        backend: of the rasteriser.
    """

    options: SplatOptions
    schedule: Schedule
    levels: tuple[tuple[Target, ...], ...]
    rates: Rates
    near: float
    backend: GaussianBackend = "auto"


@dataclass(frozen=True)
class StepReport:
    """What one step saw: the loss and the mean squared error of its photo."""

    loss: float
    mse: float


class Trainer:
    """The state of one optimisation.

    Args:
        setting: what stays the same.
        gaussians: what it starts from, in the frame.
    """

    def __init__(self, setting: Setting, gaussians: Gaussians) -> None:
        self.setting, self.model = setting, Model(gaussians)
        device, n = gaussians.means.device, len(setting.levels[0])
        self.colours = torch.eye(3, 4, device=device).repeat(n, 1, 1)
        self.motions = torch.zeros(n, 6, device=device)
        self.colour_moments = [Moments.of(self.colours[:1]) for _ in range(n)]
        self.motion_moments = [Moments.of(self.motions[:1]) for _ in range(n)]
        self.generator = generator(setting.options.seed, "splats")
        self.order = np.zeros(0, np.int64)
        self.iteration, self.failures, self.rate_scale = 0, 0, 1.0
        self.good = self.snapshot()
        white = setting.options.background == "white"
        self.background = torch.ones(3, device=device) if white else None

    def step(self) -> StepReport | None:
        """Take one step; None where it failed and the state fell back to the last good one.

        Raises:
            ResultError: steps keep failing.
        """
        if self.iteration % self.setting.schedule.snapshot_every == 0:
            self.good = self.snapshot()
        self.model.raise_sh_degree(self.setting.schedule.sh_degree(self.iteration))
        view = self._next_view()
        target = self.setting.levels[self.setting.schedule.level(self.iteration)][view]
        colour, motion = self.colours[view].clone(), self.motions[view].clone()
        colour.requires_grad_(self._finds_colours())
        motion.requires_grad_(self._finds_poses())
        try:
            seen = self._compare(target, colour, motion)
        except InputError:  # the rasteriser refuses what is not finite
            self._fall_back()
            return None
        (seen.loss + self._pull()).backward()  # type: ignore[no-untyped-call]
        grads = self.model.gradients()
        extra = [part.grad for part in (colour, motion) if part.requires_grad]
        if grads is None or not np.isfinite(seen.mse) or not all(g is not None and is_finite(g) for g in extra):
            self._fall_back()
            return None
        self._update(view, grads, colour.grad, motion.grad)
        self.iteration += 1
        return StepReport(float(seen.loss.detach()), seen.mse)

    def _compare(self, target: Target, colour: Float[Tensor, "3 4"], motion: Float[Tensor, "6"]) -> PhotometricLoss:
        options = self.setting.options
        pose = moved(target.cam_from_world, motion) if options.refine_poses else target.cam_from_world
        rendered = rasterize(
            self.model.gaussians(),
            target.camera(pose),
            background=self.background,
            antialiased=options.antialiased,
            options=RasterOptions(near=self.setting.near),
            backend=self.setting.backend,
        )
        return photometric_loss(rendered.image[0], target.image, target.mask, colour, options.lambda_dssim)

    def _pull(self) -> Float[Tensor, ""]:
        """Return the pull towards transparent and small Gaussians."""
        options, values = self.setting.options, self.model.values
        opacity, scale = torch.sigmoid(values["opacity_logits"]).mean(), values["log_scales"].exp().mean()
        pull: Tensor = options.opacity_reg * opacity + options.scale_reg * scale
        return pull

    def _update(
        self,
        view: int,
        grads: dict[str, Float[Tensor, "..."]],
        by_colour: Float[Tensor, "3 4"] | None,
        by_motion: Float[Tensor, "6"] | None,
    ) -> None:
        setting, progress = self.setting, self.setting.schedule.progress(self.iteration)
        device = self.colours.device
        n_sh = self.model.values["sh"].shape[1]
        rates = setting.rates.columns(progress, n_sh, self.rate_scale, device)
        self.model.update(grads, rates)
        fade = setting.rates.fade(progress) * self.rate_scale
        if by_colour is not None:
            step = torch.full((12,), setting.rates.colours * fade)
            grad = regularised(by_colour, self.colours[view], COLOUR_PULL)
            self.colour_moments[view].update(self.colours[view : view + 1], grad[None], step)
        if by_motion is not None:
            self.motion_moments[view].update(
                self.motions[view : view + 1], by_motion[None], torch.full((6,), setting.rates.poses * fade)
            )
        with torch.no_grad():
            self._wander(progress)
            self._limit_scales()
        if setting.schedule.refines(self.iteration):
            self._refine()

    def _wander(self, progress: float) -> None:
        values, options = self.model.values, self.setting.options
        if options.noise == 0 or progress > 0.9:
            return
        faint = torch.nonzero(values["opacity_logits"] < FAINT_LOGIT)[:, 0]
        noise = torch.from_numpy(self.generator.standard_normal((len(faint), 3), np.float32)).to(faint.device)
        log_scales, quats, logits = (values[name].detach()[faint] for name in ("log_scales", "quats", "opacity_logits"))
        length = options.noise * NOISE_SCALE * self.setting.rates.means_at(progress)
        values["means"].index_add_(0, faint, wander(log_scales, quats, logits, noise) * length)

    def _limit_scales(self) -> None:
        values = self.model.values
        distance = values["means"].norm(dim=1).clamp(min=1.0)
        values["log_scales"].clamp_(max=(distance * self.setting.options.max_scale).log()[:, None])

    def _refine(self) -> None:
        schedule = self.setting.schedule
        opacities = torch.sigmoid(self.model.values["opacity_logits"].detach()).double().cpu().numpy()
        n_target = min(schedule.cap, int(len(self.model) * schedule.growth) + 1)
        if not schedule.grows(self.iteration):
            n_target = len(self.model)
        self.model.move(plan_moves(opacities, opacities, n_target, self.generator))

    def _next_view(self) -> int:
        if len(self.order) == 0:
            self.order = self.generator.permutation(len(self.colours)).astype(np.int64)
            self.colours = centred(self.colours)
        view, self.order = int(self.order[0]), self.order[1:]
        return view

    def _finds_colours(self) -> bool:
        return self.setting.options.exposure and self.setting.schedule.progress(self.iteration) >= COLOURS_FROM

    def _finds_poses(self) -> bool:
        return self.setting.options.refine_poses and self.setting.schedule.progress(self.iteration) >= POSES_FROM

    def _fall_back(self) -> None:
        """Return to the last good state with smaller steps."""
        failures, at = self.failures + 1, self.iteration
        if failures > MAX_FAILURES:
            raise ResultError(
                "the optimisation of the splats does not stay finite",
                got=f"{failures} failures, the last at iteration {at}",
                fix="check the photos and cameras; lower --splats.max-scale, or switch --splats.refine-poses off",
            )
        scale = 0.5 * self.rate_scale
        self.restore(*self.good)
        self.failures, self.rate_scale = failures, scale
        self.good = (self.values(), self.good[1])
        _LOG.warning("step %d was not finite: back to %d with half the steps", at, self.iteration)

    def values(self) -> dict[str, Any]:
        """Return the JSON-ready part of the state."""
        return {
            "iteration": self.iteration,
            "failures": self.failures,
            "rate_scale": self.rate_scale,
            "generator": self.generator.bit_generator.state,
            "colour_steps": [moments.steps for moments in self.colour_moments],
            "motion_steps": [moments.steps for moments in self.motion_moments],
        }

    def snapshot(self) -> tuple[dict[str, Any], Arrays]:
        """Return a copy of the whole state."""
        arrays = self.model.arrays()
        arrays["order"] = self.order.copy()
        for name, value, moments in self._per_photo():
            arrays[f"{name}.value"] = value.cpu().numpy().copy()
            for part in ("mean", "square"):
                arrays[f"{name}.{part}"] = torch.cat([getattr(one, part) for one in moments]).cpu().numpy()
        return self.values(), arrays

    def _per_photo(self) -> Sequence[tuple[str, Tensor, list[Moments]]]:
        return ("colours", self.colours, self.colour_moments), ("motions", self.motions, self.motion_moments)

    def restore(self, values: dict[str, Any], arrays: Arrays) -> None:
        """Take the whole state from :meth:`snapshot`."""
        self.model.restore(arrays)
        self.order = arrays["order"].copy()
        device = self.colours.device
        self.colours = torch.tensor(arrays["colours.value"], device=device)
        self.motions = torch.tensor(arrays["motions.value"], device=device)
        for name, _, moments in self._per_photo():
            steps = values[f"{name[:-1]}_steps"]
            for i in range(len(moments)):
                mean, square = (
                    torch.tensor(arrays[f"{name}.{p}"][i : i + 1], device=device) for p in ("mean", "square")
                )
                moments[i] = Moments(mean, square, int(steps[i]))
        self.generator.bit_generator.state = values["generator"]
        self.iteration, self.failures = int(values["iteration"]), int(values["failures"])
        self.rate_scale = float(values["rate_scale"])
        self.good = (values, arrays)
