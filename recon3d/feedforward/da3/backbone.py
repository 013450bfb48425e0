"""The backbone of Depth Anything 3: one DINOv2 whose later blocks see single views and all views by turns."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from recon3d.feedforward.da3.config import Da3Options
from recon3d.feedforward.da3.reference_view import MIN_VIEWS, Strategy, reference_first, reference_view, reordered
from recon3d.feedforward.layers.rope import Rope, grid_positions, rope_2d
from recon3d.feedforward.layers.vit import VisionTransformer


@dataclass(frozen=True, eq=False)
class Taps:
    """What the heads read, finest last, in the order of the given views.

    Args:
        patches: patch tokens; half of the channels after the last block that saw the view alone, as they are, then the
            current ones through the final norm, ``[b,s,p,2c]``; the current ones alone in a network of single photos.
        camera: token 0 of the same, never normalised, ``[b,s,2c]``.
        reference: number of the view that was put first, ``[b]``; None where none was chosen.
        exported: normalised patch tokens of further blocks, by block, ``[b,s,p,c]``.
    """

    patches: list[Float[Tensor, "b s p c2"]] = field(default_factory=list)
    camera: list[Float[Tensor, "b s c2"]] = field(default_factory=list)
    reference: Int64[Tensor, " b"] | None = None
    exported: dict[int, Float[Tensor, "b s p c"]] = field(default_factory=dict)


class AnyViewTransformer(VisionTransformer):
    """DINOv2 with cross-view attention: odd blocks from ``alternation_start`` on see all views of a scene.

    Args:
        options: sizes and flags.
    """

    def __init__(self, options: Da3Options) -> None:
        super().__init__(options.vit)
        self.start, self.taps = options.alternation_start, options.taps
        if options.any_view:
            self.camera_token = nn.Parameter(torch.zeros(1, 2, options.vit.dim))

    def forward(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b p c"]:
        """Return the current half of the last tap of single images."""
        return self.tapped(images[:, None]).patches[-1][:, 0, :, -self.options.dim :]

    def tapped(
        self,
        images: Float[Tensor, "b s 3 h w"],
        camera_tokens: Float[Tensor, "b s c"] | None = None,
        *,
        strategy: Strategy = "saddle_balanced",
        export: Collection[int] = (),
    ) -> Taps:
        """Return what the heads read.

        Args:
            images: normalised images whose sides are multiples of the patch size.
            camera_tokens: encoded cameras, where they are known; the first view is then the reference.
            strategy: how the reference view is chosen among three or more views without known cameras.
            export: numbers of blocks whose tokens are wanted as well.
        """
        b, s = images.shape[:2]
        x = torch.unflatten(self.tokens(images.flatten(0, 1)), 0, (b, s))  # [b,s,1+p,c]
        alone, across = self._ropes(images)
        local, reference, restore = x, None, torch.arange(s, device=x.device).expand(b, -1)
        patches, camera, exported = [], [], {}
        for i, block in enumerate(self.blocks):
            if self._chooses(i) and camera_tokens is None and s >= MIN_VIEWS:
                reference = reference_view(x[:, :, 0], strategy)
                order = reference_first(reference, s)
                x, local, restore = reordered(x, order), reordered(local, order), order.argsort(1)
            if i == self.start:
                x = local = self._with_cameras(x, camera_tokens)  # both halves of a tap carry the camera
            if self._crosses(i):
                x = block(x.flatten(1, 2), across).view_as(x)
            else:
                x = local = block(x.flatten(0, 1), alone if self._turns(i) else None).view_as(x)
            if i in self.taps:
                tap = reordered(x if self.start is None else torch.cat([local, x], -1), restore)
                camera.append(tap[:, :, 0].clone())  # a view would keep the whole tap
                patches.append(self._normed(tap[:, :, 1:]))
            if i in export:
                exported[i] = self.norm(reordered(x, restore)[:, :, 1:])
        return Taps(patches, camera, reference, exported)

    def _turns(self, block: int) -> bool:
        return self.start is not None and block >= self.start

    def _crosses(self, block: int) -> bool:
        return self._turns(block) and block % 2 == 1

    def _chooses(self, block: int) -> bool:
        return self.start is not None and block == self.start - 1

    def _normed(self, tap: Tensor) -> Tensor:
        """Normalise the current half of a tap, or all of it where it is not doubled."""
        local, current = tap[..., : -self.options.dim], tap[..., -self.options.dim :]
        return torch.cat([local, self.norm(current)], -1)

    def _with_cameras(self, x: Tensor, camera_tokens: Tensor | None) -> Tensor:
        """Put the tokens of the cameras in the place of the class tokens."""
        if camera_tokens is None:
            slots = (torch.arange(x.shape[1], device=x.device) > 0).long()
            camera_tokens = self.camera_token[:, slots].expand(len(x), -1, -1)
        return torch.cat([camera_tokens[:, :, None].to(x.dtype), x[:, :, 1:]], 2)

    def _ropes(self, images: Tensor) -> tuple[Rope, Rope]:
        """Return the rotations of one view, and of all views together: there a patch has no place of its own."""
        rows, cols = self.grid(images)
        positions = grid_positions(rows, cols, n_special=1, device=images.device)
        head_dim = self.options.dim // self.options.n_heads
        return rope_2d(positions, head_dim), rope_2d(positions.clamp(max=1), head_dim).repeated(images.shape[1])


class Backbone(nn.Module):
    """The transformer under the name that the checkpoints give it.

    Args:
        options: sizes and flags.
    """

    def __init__(self, options: Da3Options) -> None:
        super().__init__()
        self.pretrained = AnyViewTransformer(options)
