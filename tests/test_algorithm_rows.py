"""The table's rows: every one can be trained, and starts from the settings that are promised."""

from __future__ import annotations

import inspect

import pytest

import hizala.pipelines  # noqa: F401 (registers the stages)
from hizala.algorithms import algorithms
from hizala.engines.train.objective import Objective
from hizala.registry import DATA_SHAPES, advantages, losses, stages

ROWS = list(algorithms)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_row_makes_an_objective_of_losses_on_its_own_data(row: object) -> None:
    defaults = stages.get(row.name).config.model_fields  # type: ignore[attr-defined]
    mine = {p for name in row.losses for p in inspect.signature(losses.get(name).fn).parameters}  # type: ignore[attr-defined]
    params = {k: v for k, v in row.defaults.items() if k in mine}  # type: ignore[attr-defined]
    how = row.defaults.get("reduction")  # type: ignore[attr-defined]
    objective = Objective.of(row, params, reduction=how, length=7 if how == "fixed" else None)  # type: ignore[arg-type]
    assert row.data in DATA_SHAPES  # type: ignore[attr-defined]
    assert {part.loss.data for part in objective.parts} == {row.data}  # type: ignore[attr-defined]
    assert all(defaults[k].default == v for k, v in row.defaults.items())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("dpo", {"beta": 0.1, "label_smoothing": 0.0, "chosen_nll_weight": 0.0}),
        ("cdpo", {"beta": 0.1, "label_smoothing": 0.1}),
        ("ipo", {"tau": 0.1, "normalise": "sum"}),
        ("simpo", {"beta": 2.0, "gamma": 1.0, "chosen_nll_weight": 0.0}),
        ("cpo", {"beta": 0.1, "chosen_nll_weight": 1.0}),
        ("orpo", {"chosen_nll_weight": 1.0, "orpo_weight": 0.1, "reduction": "response"}),
        ("rpo", {"dpo_weight": 1.0, "chosen_nll_weight": 1.0, "reduction": "response"}),
        ("kto", {"desirable_weight": 1.0, "undesirable_weight": 1.0, "decay": 0.0, "desirable_nll_weight": 0.0}),
        ("exo", {"label_smoothing": 1e-3}),
        ("dpo_norm", {"beta": 5.0}),
        ("tdpo", {"alpha": 0.5}),
        ("discopop", {"beta": 0.05, "tau": 0.2}),
        ("ppo", {"clip_low": 0.2, "clip_high": 0.2, "value_clip": None, "gamma": 1.0, "lam": 0.95, "whiten": True}),
        ("grpo", {"clip_low": 0.2, "clip_high": 0.2, "deviation": "sample", "reduction": "response", "beta": 0.0}),
        ("dr_grpo", {"reduction": "fixed", "dual_clip": None}),
        ("dapo", {"clip_high": 0.28, "reduction": "token", "dynamic_sampling": True, "overlong_buffer": 32}),
        ("gspo", {"clip_low": 3e-4, "clip_high": 4e-4, "reduction": "response"}),
        ("cispo", {"clip_low": 1.0, "clip_high": 4.0, "reduction": "token"}),
        ("rloo", {"weighted": False, "reduction": "fixed"}),
        ("reinforce_pp", {"gamma": 1.0, "reduction": "token"}),
    ],
)
def test_a_row_starts_from_the_settings_its_page_promises(row: str, expected: dict[str, object]) -> None:
    fields = stages.get(row).config.model_fields
    assert {name: fields[name].default for name in expected} == expected


def test_no_likelihood_term_is_added_unasked_but_where_the_paper_has_one() -> None:
    with_nll = {row.name for row in ROWS if any("nll" in name and weight for name, weight in row.losses.items())}
    assert with_nll == {"sft", "cpo", "orpo", "rpo", "slic"}


ONLINE = [row for row in ROWS if row.advantage is not None]


@pytest.mark.parametrize("row", ONLINE, ids=lambda row: row.name)
def test_a_row_of_online_rl_offers_kl_and_entropy_and_gets_a_critic_where_its_advantage_asks(row: object) -> None:
    entry = advantages.get(row.advantage)  # type: ignore[attr-defined]
    assert row.data == "rollout"  # type: ignore[attr-defined]
    assert {"kl", "entropy"} <= {name for name, weight in row.losses.items() if weight == 0}  # type: ignore[attr-defined]
    critic = "values" in entry.inputs
    assert critic == ("value" in row.losses) == ("value" in row.heads)  # type: ignore[attr-defined]


def test_every_advantage_has_a_row_and_every_rollout_row_an_advantage() -> None:
    assert {row.advantage for row in ONLINE} == set(advantages.names())
    assert [row for row in ROWS if row.data == "rollout"] == ONLINE
