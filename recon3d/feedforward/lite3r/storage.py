"""Linear layers whose weights are really stored in eight or sixteen bits, for use after training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Literal

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from recon3d.feedforward.lite3r.int8_cpu import quantised_rows, rescaled
from recon3d.feedforward.lite3r.quantisation import E4M3, IntegerFormat

Storage = Literal["auto", "fp8", "int8", "bf16"]
_INT8 = IntegerFormat(8)


class _Stored(nn.Module, ABC):
    """A linear layer that is not trained any more.

    Args:
        layer: whose weights are stored.
    """

    bias: Tensor | None

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        bias = None if layer.bias is None else layer.bias.detach().float()
        self.register_buffer("bias", bias)

    def forward(self, x: Float[Tensor, "*n c"]) -> Float[Tensor, "*n out"]:
        """Apply the layer to every token."""
        rows = self.product(x.reshape(x.shape[:-1].numel(), self.in_features))
        return rows.to(x.dtype).view(*x.shape[:-1], self.out_features)

    @abstractmethod
    def product(self, x: Float[Tensor, "n c"]) -> Float[Tensor, "n out"]:
        """Return the layer's function of tokens, one a row, in any type."""

    def extra_repr(self) -> str:
        """Return the sizes, as ``nn.Linear`` does."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Fp8Linear(_Stored):
    """Weights in E4M3 with one scale per output.

    On CUDA devices with FP8 units the inputs are quantised too, one scale per token, and the product runs in FP8;
    elsewhere the weights are expanded for each call, to bfloat16 where the processor multiplies it faster.

    Args:
        layer: whose weights are stored.
    """

    weight: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        weight = layer.weight.detach().float()
        scales = E4M3.scales(weight)
        self.register_buffer("weight", E4M3.encoded(weight, scales))
        self.register_buffer("scales", scales)

    def product(self, x: Float[Tensor, "n c"]) -> Float[Tensor, "n out"]:
        """Return the layer's function of tokens, one a row."""
        if x.is_cuda and _has_fp8_units(x.device) and self.in_features % 16 == self.out_features % 16 == 0:
            return self._fp8_product(x)
        kind = torch.bfloat16 if x.device.type == "cpu" and has_bf16_units() else x.dtype
        weight = self.weight.to(kind)
        out = linear(x.to(kind), weight).to(x.dtype) * self.scales.T.to(x.dtype)
        return out if self.bias is None else out.add_(self.bias)

    def _fp8_product(self, x: Tensor) -> Tensor:
        scales = E4M3.scales(x.float())
        encoded = E4M3.encoded(x.float(), scales)
        bias = None if self.bias is None else self.bias.bfloat16()
        return torch._scaled_mm(
            encoded, self.weight.T, scale_a=scales, scale_b=self.scales.T, bias=bias, out_dtype=torch.bfloat16
        )


class Int8Linear(_Stored):
    """Weights in int8 with one scale per output; inputs are quantised with one scale per token, products are exact.

    Args:
        layer: whose weights are stored.
    """

    weight: Tensor
    scales: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        weight = layer.weight.detach().float()
        scales = _INT8.scales(weight)
        self.register_buffer("weight", _INT8.encoded(weight, scales).to(torch.int8))
        self.register_buffer("scales", scales.squeeze(-1))

    def product(self, x: Float[Tensor, "n c"]) -> Float[Tensor, "n out"]:
        """Return the layer's function of tokens, one a row."""
        out: Tensor = _Int8Product.apply(x, self.weight, self.scales, self.bias)  # type: ignore[no-untyped-call]
        return out


class _Int8Product(torch.autograd.Function):
    """The product of an int8 layer; its gradient passes the rounding of the inputs straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scales: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(weight, scales)
        ctx.dtype = x.dtype
        levels, row_scales = quantised_rows(x)
        return rescaled(torch._int_mm(levels, weight.T), row_scales, scales, bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        weight, scales = ctx.saved_tensors
        return ((grad * scales) @ weight.to(grad.dtype)).to(ctx.dtype), None, None, None


class Bf16Linear(_Stored):
    """Weights in bfloat16.

    Args:
        layer: whose weights are stored.
    """

    weight: Tensor

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__(layer)
        self.register_buffer("weight", layer.weight.detach().bfloat16())

    def product(self, x: Float[Tensor, "n c"]) -> Float[Tensor, "n out"]:
        """Return the layer's function of tokens, one a row."""
        bias = None if self.bias is None else self.bias.bfloat16()
        return linear(x.bfloat16(), self.weight, bias)


def stored(layer: nn.Linear, storage: Storage = "auto") -> nn.Module:
    """Return a layer with the same function, up to rounding, and its weights in a narrow format.

    Args:
        layer: trained layer.
        storage: format; ``auto`` takes the fastest on the device of the layer.
    """
    kinds: dict[Storage, type[_Stored]] = {"fp8": Fp8Linear, "int8": Int8Linear, "bf16": Bf16Linear}
    return kinds[fastest_storage(layer.weight.device) if storage == "auto" else storage](layer)


def fastest_storage(device: torch.device) -> Storage:
    """Return the format in which linear layers run fastest: FP8 or bfloat16 on CUDA, int8 or bfloat16 on the CPU."""
    if device.type == "cuda":
        return "fp8" if _has_fp8_units(device) else "bf16"
    return "int8" if _has("avx512vnni", "avxvnni", "dotprod") else "bf16"


def has_bf16_units() -> bool:
    """Tell whether the processor multiplies bfloat16 faster than float32."""
    return _has("avx512bf16", "amx-bf16", "bf16")


def _has(*features: str) -> bool:
    found = llvm.get_host_cpu_features()
    return any(found.get(name, False) for name in features)


def _has_fp8_units(device: torch.device) -> bool:
    return torch.cuda.get_device_capability(device) >= (8, 9)
