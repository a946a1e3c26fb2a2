"""The parts of a layer that are neither products nor attention, their gradients written out.

On a CPU these read and write memory and do little else. Written out, a gradient takes half the passes that the graph
of single operations takes, and the three parts of one product get theirs in one piece.
"""

# N flat positions, W width, F feed-forward width, H heads, K heads with keys, h = H + K, D head size
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch.autograd.function import once_differentiable

if TYPE_CHECKING:
    from torch import Tensor


def norm(x: Tensor, scale: Tensor, eps: float) -> Tensor:
    """x / sqrt(mean(x^2) + eps) * scale over the last dimension (RMSNorm, arXiv:1910.07467), in float32 inside."""
    if not torch.is_grad_enabled():
        return (x * _inverse_rms(x, eps).to(x.dtype)).mul_(scale)
    return _Norm.apply(x, scale, eps)  # type: ignore[no-any-return, no-untyped-call]


def turned(qkv: Tensor, scale_hD: Tensor | None, rotation: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Queries and keys (N, h, D) of `qkv` (N, H + 2K, D), normed where there is a scale, then rotated; and the values.

    `rotation` is complex, (N, h, D/2).
    """
    if torch.is_grad_enabled():
        return _Turn.apply(qkv, scale_hD, rotation, eps)  # type: ignore[no-any-return, no-untyped-call]
    qk, value = qkv[..., : rotation.shape[-2], :], qkv[..., rotation.shape[-2] :, :]
    if scale_hD is not None:
        qk = (qk * _inverse_rms(qk, eps).to(qk.dtype)).mul_(scale_hD)
    return _rotated(qk, rotation).to(qkv.dtype), value


def gated(gate_up: Tensor) -> Tensor:
    """silu(gate) * up of (N, 2F): SwiGLU, arXiv:2002.05202."""
    if not torch.is_grad_enabled():
        gate, up = gate_up.chunk(2, -1)
        return F.silu(gate).mul_(up)
    return _Gate.apply(gate_up)  # type: ignore[no-any-return, no-untyped-call]


class _Norm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor, eps: float) -> Tensor:
        inverse = _inverse_rms(x, eps)
        ctx.save_for_backward(x, scale, inverse)
        return (x * inverse.to(x.dtype)).mul_(scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, scale, inverse = ctx.saved_tensors
        x_NW, grad_NW, inverse_N1 = x.reshape(-1, x.shape[-1]), grad.reshape(-1, x.shape[-1]), inverse.view(-1, 1)
        product_NW = x_NW.float() * grad_NW
        along_N1 = torch.mv(product_NW, scale.float())[:, None] * inverse_N1**3 / x.shape[-1]
        of_x = (grad_NW * scale).float().mul_(inverse_N1).addcmul_(x_NW.float(), along_N1, value=-1)
        of_scale = torch.mv(product_NW.T, inverse_N1[:, 0])
        return of_x.to(x.dtype).view_as(x), of_scale.to(scale.dtype), None


class _Turn(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, scale_hD: Tensor | None, rotation: Tensor, eps: float) -> Any:
        num = rotation.shape[-2]
        qk, value = qkv[..., :num, :], qkv[..., num:, :]
        inverse = None if scale_hD is None else _inverse_rms(qk, eps)
        ctx.save_for_backward(qkv, scale_hD, rotation, inverse)
        if scale_hD is not None and inverse is not None:
            qk = (qk * inverse.to(qk.dtype)).mul_(scale_hD)
        return _rotated(qk, rotation).to(qkv.dtype), value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_qk: Tensor, grad_value: Tensor) -> Any:
        qkv, scale_hD, rotation, inverse = ctx.saved_tensors
        num = rotation.shape[-2]
        of_qkv = torch.empty_like(qkv)
        of_qkv[..., num:, :] = grad_value
        back = _rotated(grad_qk, rotation.conj())
        if scale_hD is None:
            of_qkv[..., :num, :] = back
            return of_qkv, None, None, None
        qk = qkv[..., :num, :]
        product = (qk * back).float().mul_(inverse)  # normed queries and keys times their gradient
        of_scale = product.flatten(0, -3).sum(0)
        along = (product * scale_hD).sum(-1, keepdim=True).mul_(inverse**2 / qk.shape[-1])
        of_qk = back.mul_(scale_hD).mul_(inverse).addcmul_(qk.float(), along, value=-1)
        of_qkv[..., :num, :] = of_qk
        return of_qkv, of_scale.to(scale_hD.dtype), None, None


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate_up: Tensor) -> Tensor:
        gate, up = gate_up.chunk(2, -1)
        opened = F.silu(gate)
        ctx.save_for_backward(gate_up, opened)
        return opened * up

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        gate_up, opened = ctx.saved_tensors
        gate, up = gate_up.chunk(2, -1)
        of_gate_up = torch.empty_like(gate_up)
        of_gate, of_up = of_gate_up.chunk(2, -1)
        torch.mul(grad, opened, out=of_up)
        torch.ops.aten.silu_backward.grad_input(grad * up, gate, grad_input=of_gate)
        return of_gate_up


def _inverse_rms(x: Tensor, eps: float) -> Tensor:
    squared = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=torch.float32).square_()
    inverse: Tensor = squared.div_(x.shape[-1]).add_(eps).rsqrt_()
    return inverse


def _rotated(x: Tensor, rotation: Tensor) -> Tensor:
    # neighbours are the real and imaginary part of one number
    turned = torch.view_as_complex(x.float().reshape(*x.shape[:-1], -1, 2)) * rotation
    return torch.view_as_real(turned).flatten(-2)
