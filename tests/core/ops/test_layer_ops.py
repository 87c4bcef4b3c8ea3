"""The pieces of a layer equal their formulas, and their backward passes a gradient check."""

from __future__ import annotations

import pytest
import torch

from hizala.core.ops.attention import Rectangle, rectangle_attention
from hizala.core.ops.elementwise import gated, rms_norm, rotate


def draw(*shape, seed=0):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)).requires_grad_()


@pytest.mark.parametrize("offset", [0.0, 1.0])
@pytest.mark.parametrize("shape", [(4, 6), (3, 2, 6)])
def test_rms_norm(shape, offset):
    x, weight = draw(*shape), draw(6, seed=1)
    expected = x / (x.square().mean(-1, keepdim=True) + 1e-3).sqrt() * (offset + weight)
    assert torch.allclose(rms_norm(x, weight, 1e-3, offset), expected)
    assert torch.autograd.gradcheck(lambda a, b: rms_norm(a, b, 1e-3, offset), (x, weight))


@pytest.mark.parametrize("kind", ["silu", "gelu_pytorch_tanh"])
def test_gated(kind):
    gate, up = draw(4, 6), draw(4, 6, seed=1)
    act = torch.nn.functional.silu if kind == "silu" else lambda x: torch.nn.functional.gelu(x, approximate="tanh")
    assert torch.allclose(gated(gate, up, kind), act(gate) * up)
    assert torch.autograd.gradcheck(lambda a, b: gated(a, b, kind), (gate, up))


def test_rotate_turns_each_pair_by_its_angle():
    x, angles = draw(5, 3, 8), torch.rand(5, 4, dtype=torch.float64)
    cos, sin = (torch.cat((f, f), dim=-1) for f in (angles.cos(), angles.sin()))
    out = rotate(x, cos, sin)
    pairs = torch.complex(x[..., :4], x[..., 4:]) * torch.polar(torch.ones_like(angles), angles)[:, None]
    assert torch.allclose(out, torch.cat((pairs.real, pairs.imag), dim=-1))
    assert torch.autograd.gradcheck(lambda a: rotate(a, cos, sin), (x,))


@pytest.mark.parametrize("keep", [0, 1 << 20])
@pytest.mark.parametrize("heads", [2, 4])
def test_rectangle_attention(heads, keep, monkeypatch):
    monkeypatch.setattr("hizala.core.ops.attention.KEEP", keep)
    n, kv, d = 7, 2, 4
    q, k, v = draw(n, heads, d), draw(n, kv, d, seed=1), draw(n, kv, d, seed=2)
    seen = torch.ones(n, n).tril().bool()
    seen[5:, 3:5] = False
    bias = torch.zeros(n, n, dtype=torch.float64).masked_fill(~seen, float("-inf"))
    parts = [
        Rectangle(0, 3, ((0, 3),), bias[:3, :3]),
        Rectangle(3, 5, ((0, 5),), bias[3:5, :5]),
        Rectangle(5, 7, ((0, 3), (5, 7)), bias[5:, [0, 1, 2, 5, 6]]),
    ]

    def dense(q, k, v):
        k, v = (t.repeat_interleave(heads // kv, 1) for t in (k, v))
        weights = (torch.einsum("ihd,jhd->hij", q, k) * 0.3 + bias).softmax(-1)
        return torch.einsum("hij,jhd->ihd", weights, v)

    assert torch.allclose(rectangle_attention(q, k, v, parts, 0.3), dense(q, k, v))
    assert torch.autograd.gradcheck(lambda *t: rectangle_attention(*t, parts, 0.3), (q, k, v))
