"""Reward models on the engine: the gradient of a plain forward, whatever the packing; learning that can fail."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from resumable import CONFIG, VOCAB
from torch.nn.functional import logsigmoid

from hizala.algorithms import algorithms
from hizala.engines.policy import Policy, load, random_init
from hizala.engines.policy.heads import member_labels
from hizala.engines.train import Engine, Objective, Settings
from hizala.records import TokenBranch, TokenGroup

NAMES = ("helpful", "brief")
ROWS = ("reward", "reward_margin", "reward_kwise", "reward_attributes", "reward_grades", "reward_process")


def groups(number: int, responses: int, seed: int = 0) -> list[TokenGroup]:
    """Random groups in which everything a reward model may learn from is known, weights not all equal."""
    draw = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high, (), generator=draw))

    out = []
    for index in range(number):
        branches = []
        for place in range(responses):
            ids = [whole(0, VOCAB) for _ in range(whole(2, 8))]
            marks = tuple((i, whole(0, 2) == 1) for i in range(0, len(ids), 2))
            grades = {name: whole(0, 9) / 2 for name in NAMES if whole(0, 4)}
            branches.append(
                TokenBranch(ids, [True] * len(ids), rank=place, score=whole(0, 5) / 1, marks=marks, attributes=grades)
            )
        prompt = [whole(0, VOCAB) for _ in range(whole(1, 6))]
        out.append(TokenGroup(prompt, tuple(branches), f"g{index}", float(whole(1, 4)), margin=whole(0, 5) / 4))
    return out


def objective(row: str) -> Objective:
    params = {"names": NAMES} if row == "reward_attributes" else {}
    weights = {"reward_centre": 0.1} if "reward_centre" in algorithms.get(row).losses else {}
    return Objective.of(algorithms.get(row), params, weights=weights)


def model(row: str, **options: object) -> Policy:
    torch.manual_seed(0)
    labels = NAMES if row == "reward_attributes" else ()
    policy = random_init(CONFIG, 1, heads=algorithms.get(row).heads, labels=labels, **options)  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in policy.module.heads.parameters():
            parameter.normal_(std=0.5)
    return policy


def data(row: str, seed: int = 0) -> list[TokenGroup]:
    return groups(7, 2 if algorithms.get(row).data == "pair" else 3, seed)


def settings(budget: int = 10_000, steps: int = 100, rate: float = 1e-2) -> Settings:
    return Settings(learning_rate=rate, total_steps=steps, token_budget=budget)


def gradient(policy: Policy, row: str, budget: int) -> dict[str, torch.Tensor]:
    policy.module.zero_grad(set_to_none=True)
    Engine(policy, settings(budget)).accumulate(data(row), objective(row))
    return {n: p.grad.clone() for n, p in policy.module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("row", ROWS)
def test_the_gradient_does_not_depend_on_how_a_batch_is_cut(row: str) -> None:
    policy = model(row, dtype="float64")
    whole, cut = gradient(policy, row, 10_000), gradient(policy, row, 1)
    assert whole.keys() == cut.keys()
    for name, expected in whole.items():
        assert (cut[name] - expected).norm() <= 1e-10 * max(float(expected.norm()), 1e-6), name


def plain(row: str, policy: Policy) -> torch.Tensor:
    """The row's loss written out over single sequences, one plain forward each."""
    head = policy.module.heads[algorithms.get(row).heads[0]]
    top = bottom = torch.zeros((), dtype=torch.float64)
    for group in data(row):
        states = []
        for response in group.responses:
            alone = TokenGroup(group.prompt, (TokenBranch(response.ids, response.mask),))
            states.append(policy.hidden(policy.pack([alone], 10_000)[0])[len(group.prompt) :])
        scores = torch.stack([head(state[-1:])[0] for state in states]) if row != "reward_process" else None
        terms: list[torch.Tensor] = []
        if row in ("reward", "reward_margin"):
            assert scores is not None
            lead = (group.margin or 0.0) if row == "reward_margin" else 0.0
            terms = [-logsigmoid(scores[0] - scores[1] - lead) + 0.1 * (scores[0] + scores[1]) ** 2]
        elif row == "reward_kwise":
            assert scores is not None
            order = sorted(range(len(scores)), key=lambda i: group.responses[i].rank or 0)
            terms = [sum(torch.logsumexp(scores[order[i:]], 0) - scores[order[i]] for i in range(len(order)))]
        elif row == "reward_process":
            for response, state in zip(group.responses, states, strict=True):
                found = [(head(state[i : i + 1])[0], right) for i, right in response.marks]
                terms += [-logsigmoid(score if right else -score) for score, right in found]
        else:
            assert scores is not None
            for response, score in zip(group.responses, scores, strict=True):
                known = enumerate(NAMES) if row == "reward_attributes" else ()
                terms += [(score[k] - response.attributes[n]) ** 2 for k, n in known if n in response.attributes]
                terms += [(score - response.score) ** 2] if row == "reward_grades" else []
        top = top + group.weight * torch.stack(terms).sum()
        bottom = bottom + group.weight * len(terms)
    return top / bottom


@pytest.mark.parametrize("row", ROWS)
def test_the_gradient_is_that_of_the_loss_over_single_sequences(row: str) -> None:
    policy = model(row, dtype="float64")
    ours = gradient(policy, row, 60)
    policy.module.zero_grad(set_to_none=True)
    plain(row, policy).backward()
    for name, parameter in policy.module.named_parameters():
        if parameter.grad is not None:
            difference = (ours[name] - parameter.grad).norm()
            assert difference <= 1e-9 * max(float(parameter.grad.norm()), 1e-6), name


def test_the_output_layer_of_a_language_model_is_left_alone_and_left_out(tmp_path: Path) -> None:
    """An untied model: its output layer is no part of a score, so it neither moves nor decays nor is exported."""
    torch.manual_seed(0)
    policy = random_init({**CONFIG, "tie_word_embeddings": False}, 1, heads=("score",))
    before = policy.module.lm_head.weight.detach().clone()
    decaying = Settings(learning_rate=1e-2, total_steps=5, weight_decay=0.1)
    engine = Engine(policy, decaying)
    engine.step(data("reward"), objective("reward"))
    engine.save(tmp_path / "checkpoints")
    again = Engine(random_init({**CONFIG, "tie_word_embeddings": False}, 2, heads=("score",)), decaying)
    assert again.load(tmp_path / "checkpoints") is not None
    again.step(data("reward"), objective("reward"))
    assert torch.equal(again.policy.module.lm_head.weight, before)
    again.policy.save(tmp_path / "model")
    assert "lm_head.weight" not in load(tmp_path / "model").state_dict()


GOOD, BAD = 3, 4


def taught(flip: float, seed: int) -> list[TokenGroup]:
    """Pairs whose chosen response holds one token and whose rejected one another; turned with probability `flip`."""
    draw = torch.Generator().manual_seed(seed)
    out = []
    for index in range(48):
        rest = torch.randint(5, VOCAB, (6,), generator=draw).tolist()
        good, bad = (
            TokenBranch([*rest[:2], GOOD, rest[2]], [True] * 4),
            TokenBranch([rest[3], BAD, *rest[4:]], [True] * 4),
        )
        turned = bool(torch.rand((), generator=draw) < flip)
        out.append(TokenGroup([1, 2], (bad, good) if turned else (good, bad), f"g{index}"))
    return out


@pytest.mark.parametrize(("flip", "low", "high"), [(0.0, 0.95, 1.0), (1.0, 0.0, 0.05), (0.5, 0.2, 0.8)])
def test_a_reward_model_learns_what_the_pairs_say_and_nothing_from_noise(flip: float, low: float, high: float) -> None:
    """Held-out accuracy against the truth: high for true labels, low for turned ones, middling for random ones."""
    found = []
    for seed in range(3):
        torch.manual_seed(seed)
        engine = Engine(random_init(CONFIG, seed, heads=("score",)), settings(rate=3e-3, steps=25))
        lessons = taught(flip, seed)
        for step in range(25):
            engine.step(lessons[16 * (step % 3) : 16 * (step % 3 + 1)], objective("reward"))
        found.append(engine.evaluate(taught(0.0, 100), objective("reward"))["bradley_terry/accuracy"].mean())
    assert low <= np.mean(found) <= high


def test_members_learn_each_on_its_own_from_its_own_half_of_the_features() -> None:
    """The gradient of a member's head is that of a model with this member alone, divided by their number."""
    torch.manual_seed(0)
    three = random_init(CONFIG, 1, heads=("score",), labels=member_labels(3), dtype="float64")
    weight, reads = three.module.heads["score"].weight, three.module.heads["score"].reads
    assert len({tuple(row) for row in weight.detach().tolist()}) == 3
    assert 0.3 < float(reads.double().mean()) < 0.7
    lessons, bt = taught(0.0, 0), Objective.of(algorithms.get("reward"))
    engine = Engine(three, settings())
    engine.accumulate(lessons, bt)
    for index in range(3):
        one = random_init(CONFIG, 1, heads=("score",), dtype="float64")
        with torch.no_grad():
            one.module.heads["score"].weight.copy_(weight[index : index + 1])
        Engine(one, settings()).accumulate(lessons, bt)
        alone = one.module.heads["score"].weight.grad * reads[index]
        assert torch.allclose(weight.grad[index : index + 1], alone / 3, rtol=1e-9)
    engine.step(lessons, bt)
    assert torch.equal(weight != 0, reads)


def test_members_stay_apart_where_attributes_need_not(tmp_path: Path) -> None:
    """After training members still differ in what they say, and a saved ensemble trains on with its own halves."""
    torch.manual_seed(0)
    policy = random_init(CONFIG, 1, heads=("score",), labels=member_labels(4))
    engine, lessons = Engine(policy, settings(rate=3e-3)), taught(0.0, 0)
    for _ in range(10):
        engine.step(lessons, Objective.of(algorithms.get("reward")))
    with torch.no_grad():
        scores = policy.scores(policy.pack(taught(0.0, 1), 10_000)[0]).reshape(-1, 2, 4)
        gap = scores[:, 0] - scores[:, 1]
        assert gap.std(1).mean() > 0.02 * gap.abs().mean()
    policy.save(tmp_path)
    again = load(tmp_path)
    assert torch.equal(again.module.heads["score"].reads, policy.module.heads["score"].reads)
    Engine(again, settings()).step(lessons, Objective.of(algorithms.get("reward")))
    assert torch.equal(again.module.heads["score"].weight != 0, policy.module.heads["score"].reads)
    torch.manual_seed(0)
    named = random_init(CONFIG, 1, heads=("score",), labels=NAMES)
    assert named.module.heads["score"].reads is None


def test_a_first_step_starts_at_the_loss_of_a_coin() -> None:
    torch.manual_seed(0)
    policy = random_init(CONFIG, 1, heads=("score",))
    report = Engine(policy, settings()).step(taught(0.0, 0), Objective.of(algorithms.get("reward")))
    assert report.metrics["bradley_terry/loss"] == pytest.approx(math.log(2), abs=0.02)
    assert report.metrics["grad_norm"] > 0


@pytest.mark.parametrize("row", ["reward", "reward_attributes", "reward_process"])
def test_training_goes_on_to_the_same_bits_and_exports_what_was_trained(row: str, tmp_path: Path) -> None:
    def steps(engine: Engine, first: int, last: int) -> None:
        for step in range(first, last):
            engine.step(data(row, seed=step), objective(row))

    straight = Engine(model(row), settings())
    steps(straight, 0, 4)
    broken = Engine(model(row), settings())
    steps(broken, 0, 2)
    broken.save(tmp_path / "checkpoints")
    again = Engine(model(row), settings())
    assert again.load(tmp_path / "checkpoints") is not None
    steps(again, 2, 4)
    for name, tensor in straight.policy.module.state_dict().items():
        assert torch.equal(tensor, again.policy.module.state_dict()[name]), name
    straight.policy.save(tmp_path / "model")  # type: ignore[attr-defined]
    name = {"reward_process": "step_scores"}.get(row, "scores")
    tree = load(tmp_path / "model").pack(data(row), 10_000)[0]
    read: Callable[[Policy], torch.Tensor] = lambda policy: policy.outputs(tree, (name,))[name]  # noqa: E731
    assert torch.equal(read(load(tmp_path / "model")), read(straight.policy))  # type: ignore[arg-type]
