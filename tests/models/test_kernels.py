import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from evolvent.models.kernels import gated, norm, turned

torch.set_num_threads(1)


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def same_with_gradient(ours, plain, inputs, dtype):
    """Both functions on equal leaves: outputs, gradients under a random upstream gradient, and without a graph."""
    made = []
    for function in (ours, plain):
        leaves = [x.to(dtype).requires_grad_() for x in inputs]
        outs = function(*leaves)
        outs = outs if isinstance(outs, tuple) else (outs,)
        upstream = [numbers(*o.shape, seed=9 + i).to(o.dtype) for i, o in enumerate(outs)]
        torch.autograd.backward(outs, upstream)
        made.append(([o.detach().float() for o in outs], [x.grad.float() for x in leaves]))
    with torch.no_grad():
        alone = ours(*(x.to(dtype) for x in inputs))
    alone = [a.float() for a in (alone if isinstance(alone, tuple) else (alone,))]
    bound = 2e-5 if dtype == torch.float32 else 0.06
    for mine, theirs in ((made[0][0], made[1][0]), (made[0][1], made[1][1]), (alone, made[0][0])):
        for a, b in zip(mine, theirs, strict=True):
            assert a.shape == b.shape and (a - b).abs().max() <= bound * (1 + b.abs().max())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(7, 24), (3, 5, 24)])
def test_the_norm_and_its_gradient_are_those_of_torch(shape, dtype):
    def plain(x, scale):
        return F.rms_norm(x, (24,), scale, 1e-5)

    same_with_gradient(lambda x, s: norm(x, s, 1e-5), plain, [numbers(*shape), 1 + 0.3 * numbers(24, seed=1)], dtype)


def test_the_norm_worked_by_hand():
    # mean of squares of (3, 4) is 12.5; 3 / sqrt(12.5) = 0.848528, 4 / sqrt(12.5) = 1.131371
    found = norm(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 2.0]), 0.0)
    assert found.tolist() == pytest.approx([0.848528, 2.262742], abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("normed", [True, False])
def test_turning_queries_and_keys_has_the_gradient_of_its_parts(normed, dtype):
    num, heads, kept, size = 6, 4, 2, 8
    rotation = torch.polar(torch.ones(num, heads + kept, size // 2), numbers(num, heads + kept, size // 2, seed=2))

    def plain(qkv, *scale):
        qk, value = torch.split(qkv, [heads + kept, kept], -2)
        if scale:
            qk = F.rms_norm(qk, (size,), None, 1e-6) * scale[0]
        pairs = torch.view_as_complex(qk.float().unflatten(-1, (-1, 2))) * rotation
        return torch.view_as_real(pairs).flatten(-2).to(qkv.dtype), value

    def ours(qkv, *scale):
        return turned(qkv, scale[0] if scale else None, rotation, 1e-6)

    inputs = [numbers(num, heads + 2 * kept, size)]
    inputs += [1 + 0.3 * numbers(heads + kept, size, seed=1)] if normed else []
    same_with_gradient(ours, plain, inputs, dtype)


def test_a_quarter_turn_by_hand():
    # the pair (1, 2) is 1 + 2i; times i it is -2 + i
    qk, value = turned(torch.tensor([[[1.0, 2.0], [5.0, 6.0]]]), None, torch.tensor([[[1j]]]), 0.0)
    assert qk.tolist() == [[[-2.0, 1.0]]] and value.tolist() == [[[5.0, 6.0]]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gate_and_its_gradient_are_those_of_its_parts(dtype):
    def plain(x):
        gate, up = x.chunk(2, -1)
        return F.silu(gate) * up

    same_with_gradient(gated, plain, [numbers(9, 32)], dtype)
