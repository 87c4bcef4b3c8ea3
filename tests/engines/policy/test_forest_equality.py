"""The forest forward equals one plain transformers forward a response: log-probs and every parameter's gradient."""

from __future__ import annotations

import copy

import pytest
import torch

from hizala.engines.policy import load
from hizala.engines.policy.policy import Policy
from hizala.records import TokenGroup

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text")
LORA = {"rank": 3, "alpha": 5.0, "targets": ["q_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]}


def plain_logps(model, groups):
    """Log-probs of the counted tokens, one forward a response, from the full logits."""
    out = []
    for group in groups:
        for response in group.responses:
            ids = torch.tensor([list(group.prompt) + list(response.ids)])
            logps = torch.log_softmax(model(input_ids=ids).logits[0], dim=-1)
            rows = range(len(group.prompt) - 1, ids.shape[1] - 1)
            marked = [(r, t) for r, t, m in zip(rows, response.ids, response.mask, strict=True) if m]
            out += [logps[r, t] for r, t in marked]
    return torch.stack(out)


def error(ours, theirs):
    return ((ours - theirs).norm() / theirs.norm().clamp(min=1e-12)).item()


def both(model, tmp_path, lora, **settings):
    """Our policy and the transformers model with the same weights and the same random adapters."""
    model.save_pretrained(tmp_path)
    policy = load(tmp_path, lora=lora, **settings)
    if lora:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=lora["rank"], lora_alpha=lora["alpha"], target_modules=lora["targets"])
        model = get_peft_model(model, config).base_model.model
        theirs = dict(model.named_parameters())
        torch.manual_seed(1)
        with torch.no_grad():
            for name, parameter in policy.trainable().items():
                parameter.normal_(std=0.05)
                theirs[name].copy_(parameter)
    return policy, model


def compare(policy, model, groups, budget):
    """(relative error of the log-probs, of each parameter's gradient) under a random linear loss."""
    trees = policy.pack(groups, budget)
    parts = [policy.logps(tree).tokens for tree in trees]
    ours, theirs = torch.cat(parts), plain_logps(model, groups)
    weights = torch.randn(ours.shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(ours.dtype)
    (ours * weights).sum().backward()
    (theirs * weights.to(theirs.dtype)).sum().backward()
    expected = {n: p for n, p in model.named_parameters() if p.requires_grad}
    assert set(policy.trainable()) == set(expected)
    # A gradient that nearly cancels (the bias of a key moves all of a softmax alike) is held against the whole.
    floor = 0.01 * torch.cat([p.grad.flatten() for p in expected.values()]).norm()
    gradients = {
        n: ((p.grad - expected[n].grad).norm() / torch.maximum(expected[n].grad.norm(), floor)).item()
        for n, p in policy.trainable().items()
    }
    return error(ours.detach(), theirs.detach()), gradients


@pytest.mark.parametrize("lifted", [False, True])
@pytest.mark.parametrize("lora", [None, LORA])
@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("family", FAMILIES)
def test_forest_equals_plain_forward(family, size, lora, lifted, make_model, make_groups, lift, tmp_path):
    policy, model = both(make_model(family), tmp_path, lora, dtype="float64")
    if lifted:
        lift(model)
        policy.module.angle_dtype = torch.float64
    logps, gradients = compare(policy, model, make_groups((size, size, size), holes=True), budget=10_000)
    bound = 1e-10 if lifted else 1e-6
    assert logps <= bound
    assert max(gradients.values()) <= bound, max(gradients, key=gradients.__getitem__)


@pytest.mark.parametrize("family", FAMILIES)
def test_float32_forest_equals_float32_plain_forward(family, make_model, make_groups, tmp_path):
    policy, model = both(make_model(family, torch.float32), tmp_path, None)
    logps, gradients = compare(policy, model, make_groups((2, 1, 4)), budget=10_000)
    assert logps <= 1e-6
    assert max(gradients.values()) <= 1e-5, max(gradients, key=gradients.__getitem__)


@pytest.mark.parametrize("settings", [{"checkpointing": True}, {"sharing": False}])
def test_checkpointing_and_no_sharing_change_nothing(settings, make_model, make_groups, tmp_path):
    make_model("gemma3_text").save_pretrained(tmp_path)
    groups = make_groups((2, 3), holes=True)
    results = []
    for extra in ({}, settings):
        policy = load(tmp_path, dtype="float64", **extra)
        logps = policy.logps(policy.pack(groups, 10_000)[0])
        logps.total.square().sum().backward()
        results.append((logps.tokens.detach(), {n: p.grad for n, p in policy.trainable().items()}))
    (a, grads_a), (b, grads_b) = results
    assert error(b, a) <= 1e-12
    assert max(error(grads_b[n], grads_a[n]) for n in grads_a) <= 1e-10


@pytest.mark.parametrize("budget", [1, 30, 60, 10_000])
def test_the_token_budget_and_the_order_of_groups_change_nothing(budget, make_model, make_groups, tmp_path):
    make_model("mistral").save_pretrained(tmp_path)
    groups = make_groups((2, 1, 3, 2), holes=True)

    def run(order: list[int], limit: int) -> tuple[dict[str, list[float]], dict[str, torch.Tensor]]:
        policy = load(tmp_path, dtype="float64")
        totals: dict[str, list[float]] = {}
        for tree in policy.pack([groups[i] for i in order], limit):
            total = policy.logps(tree).total
            total.square().sum().backward()
            values = iter(total.tolist())
            totals.update({g.id: [next(values) for _ in g.responses] for g in tree.groups})
        return totals, {n: p.grad for n, p in policy.trainable().items()}

    totals, grads = run([0, 1, 2, 3], 10_000)
    others, other_grads = run([2, 0, 3, 1], budget)
    for name in totals:
        assert others[name] == pytest.approx(totals[name], rel=1e-12)
    assert max(error(other_grads[n], grads[n]) for n in grads) <= 1e-10


def test_adapters_switched_off_are_the_reference(make_model, make_groups, tmp_path):
    make_model("qwen3").save_pretrained(tmp_path)
    policy, plain = load(tmp_path, dtype="float64", lora=LORA), load(tmp_path, dtype="float64")
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.normal_(std=0.2)
    groups = make_groups((2,))
    tree = policy.pack(groups, 1000)[0]
    changed = policy.logps(tree).tokens
    with policy.reference():
        reference = policy.logps(tree).tokens
    expected = plain.logps(tree).tokens
    assert torch.equal(reference, expected)
    assert not torch.allclose(changed, expected)
    assert torch.equal(policy.logps(tree).tokens, changed)


def test_the_bfloat16_gradient_is_no_worse_than_the_plain_bfloat16_forward(make_model, make_groups, tmp_path):
    for family in FAMILIES:
        model = make_model(family, torch.float32)
        model.save_pretrained(tmp_path)
        groups = make_groups((2, 2, 2, 2), seed=5)

        def gradient(run: Policy | torch.nn.Module, groups: list[TokenGroup] = groups) -> torch.Tensor:
            if isinstance(run, Policy):
                logps = run.logps(run.pack(groups, 10_000)[0]).tokens
                named = list(run.trainable().items())
            else:
                logps = plain_logps(run, groups)
                named = list(run.named_parameters())
            weights = torch.randn(logps.shape, generator=torch.Generator().manual_seed(3))
            (logps.float() * weights).sum().backward()
            return torch.cat([p.grad.float().flatten() for _, p in sorted(named)])

        exact = gradient(load(tmp_path))
        plain = gradient(copy.deepcopy(model).to(torch.bfloat16))
        ours = gradient(load(tmp_path, dtype="bfloat16"))

        def cosine(g: torch.Tensor, exact: torch.Tensor = exact) -> float:
            return torch.cosine_similarity(g, exact, dim=0).item()

        def norm_error(g: torch.Tensor, exact: torch.Tensor = exact) -> float:
            return abs(g.norm() / exact.norm() - 1).item()

        assert cosine(ours) >= cosine(plain) - 1e-4, family
        assert norm_error(ours) <= norm_error(plain) + 3e-3, family
