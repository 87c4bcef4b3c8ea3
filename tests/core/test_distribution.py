"""The distribution drawn from: against an oracle written from the definitions, and the draw against its log-probs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hizala.core.distribution import Distribution
from hizala.errors import ConfigError

SETTINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 2.5},
    {"top_k": 1},
    {"top_k": 5},
    {"top_k": 500},
    {"top_p": 0.6},
    {"top_p": 1e-9},
    {"min_p": 0.2},
    {"temperature": 0.7, "top_k": 8, "top_p": 0.8, "min_p": 0.05},
]


def oracle(logits: np.ndarray, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0) -> np.ndarray:
    """Probabilities of one row, token by token, in float64."""
    weights = {i: float(np.exp((x - logits.max()) / temperature)) for i, x in enumerate(logits.astype(np.float64))}
    kept = sorted(weights, key=lambda i: -weights[i])
    if top_k:
        kept = kept[:top_k]
    if top_p < 1:
        whole, held, nucleus = sum(weights[i] for i in kept), 0.0, []
        for i in kept:
            nucleus.append(i)
            held += weights[i] / whole
            if held >= top_p:
                break
        kept = nucleus
    kept = [i for i in kept if weights[i] >= min_p * weights[kept[0]]]
    out = np.zeros(len(logits))
    for i in kept:
        out[i] = weights[i] / sum(weights[j] for j in kept)
    return out


@pytest.mark.parametrize("settings", SETTINGS)
def test_log_probs_are_those_of_the_definition(settings):
    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(1)) * 2
    got = Distribution(**settings).logps(logits).exp().double().numpy()
    for row in range(6):
        np.testing.assert_allclose(got[row], oracle(logits[row].numpy(), **settings), atol=2e-6)


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_drawn_token_comes_with_its_own_log_prob(settings):
    generator = torch.Generator().manual_seed(2)
    logits = torch.randn(500, 40, generator=generator) * 2
    law = Distribution(**settings)
    tokens, logps = law.draw(logits, torch.rand(500, generator=generator, dtype=torch.float64))
    expected = law.logps(logits).gather(1, tokens[:, None])[:, 0]
    assert torch.isfinite(logps).all()
    torch.testing.assert_close(logps, expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize("settings", SETTINGS)
def test_draws_follow_the_distribution(settings):
    generator = torch.Generator().manual_seed(3)
    row = torch.randn(12, generator=generator) * 1.5
    law, n = Distribution(**settings), 40_000
    tokens, _ = law.draw(row.expand(n, -1), torch.rand(n, generator=generator, dtype=torch.float64))
    expected = law.logps(row[None])[0].exp().double().numpy()
    seen = np.bincount(tokens.numpy(), minlength=12)
    assert seen[expected == 0].sum() == 0
    inside = expected > 0
    chi = ((seen[inside] - n * expected[inside]) ** 2 / (n * expected[inside])).sum()
    assert chi < inside.sum() + 6 * np.sqrt(2 * inside.sum())


def test_the_ends_of_the_unit_interval_give_tokens_of_positive_probability():
    logits = torch.tensor([[float("-inf"), 0.0, 1.0, float("-inf")]]).expand(2, -1)
    tokens, logps = Distribution().draw(logits, torch.tensor([0.0, np.nextafter(1.0, 0.0)], dtype=torch.float64))
    assert tokens.tolist() == [1, 2]
    assert torch.isfinite(logps).all()


def test_temperature_zero_takes_the_likeliest_token_with_log_prob_zero():
    logits = torch.randn(7, 30, generator=torch.Generator().manual_seed(4))
    law = Distribution(temperature=0)
    tokens, logps = law.draw(logits, torch.rand(7, dtype=torch.float64))
    assert torch.equal(tokens, logits.argmax(1))
    assert torch.equal(logps, torch.zeros(7))
    assert law.logps(logits).exp().sum() == 7


def test_tokens_tied_with_the_last_kept_one_are_kept():
    law = Distribution(top_k=2)
    assert torch.isfinite(law.logps(torch.tensor([[3.0, 1.0, 1.0, 0.0]])))[0].tolist() == [True, True, True, False]


@pytest.mark.parametrize(
    "settings",
    [
        {"temperature": -0.1},
        {"temperature": float("inf")},
        {"temperature": float("nan")},
        {"top_k": -1},
        {"top_p": 0.0},
        {"top_p": 1.1},
        {"min_p": 1.0},
        {"temperature": 0, "top_p": 0.9},
    ],
)
def test_settings_out_of_bounds_or_without_effect_are_refused(settings):
    with pytest.raises(ConfigError):
        Distribution(**settings)


def test_a_large_vocabulary_is_drawn_from_in_pieces_with_the_same_result():
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(7, 3 << 20, generator=generator)
    uniforms = torch.rand(7, generator=generator, dtype=torch.float64)
    tokens, logps = Distribution().draw(logits, uniforms)
    for row in range(7):
        token, logp = Distribution().draw(logits[row : row + 1], uniforms[row : row + 1])
        assert (int(token), float(logp)) == (int(tokens[row]), float(logps[row]))


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_distribution_is_that_of_transformers(settings):
    processors = pytest.importorskip("transformers", reason="compared with transformers' own processors")
    made = processors.LogitsProcessorList()
    if "temperature" in settings:
        made.append(processors.TemperatureLogitsWarper(settings["temperature"]))
    if "top_k" in settings:
        made.append(processors.TopKLogitsWarper(settings["top_k"]))
    if "top_p" in settings:
        made.append(processors.TopPLogitsWarper(settings["top_p"]))
    if "min_p" in settings:
        made.append(processors.MinPLogitsWarper(settings["min_p"]))
    logits = torch.randn(50, 40, generator=torch.Generator().manual_seed(6)) * 2
    expected = made(torch.zeros(50, 1, dtype=torch.long), logits).softmax(-1)
    torch.testing.assert_close(Distribution(**settings).logps(logits).exp(), expected, atol=1e-6, rtol=0)
