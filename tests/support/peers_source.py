"""Functions of peers that cannot be imported here, read from their installed source and run as they stand.

verl and OpenRLHF import ray, deepspeed or flash-attention at the top of the files that hold their loss mathematics. The
functions themselves need torch and numpy alone, so they are taken out of the file by name and compiled; what they ask
of their configuration is given as plain attributes. Nothing of their text is kept.
"""

from __future__ import annotations

import ast
import importlib.util
from collections import defaultdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch


def installed(package: str) -> bool:
    """Whether a package's files are there, whatever it would need to be imported."""
    return importlib.util.find_spec(package) is not None


@cache
def _tree(package: str, path: str) -> ast.Module:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.origin is not None
    return ast.parse((Path(spec.origin).parent / path).read_text(encoding="utf-8"))


def definitions(package: str, path: str, names: tuple[str, ...], given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Functions or classes of a file by name, without their decorators; `given` is what else they read.

    `Class.method` takes a method out of its class.
    """
    found: dict[str, Any] = {"torch": torch, "np": np, "defaultdict": defaultdict, **(given or {})}
    for name in names:
        body = _tree(package, path).body
        node: Any = None
        for part in name.split("."):
            node = next(n for n in body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name == part)
            body = node.body
        _run([_bare(node)], found)
    return found


def _bare(node: Any) -> Any:
    copied = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(copied, ast.FunctionDef | ast.ClassDef)
    copied.decorator_list = []
    return copied


def _run(body: list[Any], names: dict[str, Any]) -> None:
    module = ast.fix_missing_locations(ast.Module(body=body, type_ignores=[]))
    for node in ast.walk(module):  # annotations name types that are not here
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        elif isinstance(node, ast.arg):
            node.annotation = None
    exec(compile(module, "<peer>", "exec"), names)


def block(package: str, path: str, method: str, first: str, last: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run the statements of a method from the one that begins with `first` to the one that begins with `last`.

    They may stand anywhere in it, next to each other; a beginning is that of a statement as `ast.unparse` writes it.
    """
    holder, _, function = method.partition(".")
    body = _tree(package, path).body
    cls = next(n for n in body if isinstance(n, ast.ClassDef) and n.name == holder)
    whole = next(n for n in cls.body if isinstance(n, ast.FunctionDef) and n.name == function)
    for node in ast.walk(whole):
        statements = getattr(node, "body", None)
        if not isinstance(statements, list):
            continue
        begin = [i for i, s in enumerate(statements) if ast.unparse(s).startswith(first)]
        end = [i for i, s in enumerate(statements) if ast.unparse(s).startswith(last)]
        if begin and end:
            _run(statements[begin[0] : end[-1] + 1], names)
            return names
    raise LookupError(f"{package}: no such statements in {method}")


@cache
def verl() -> SimpleNamespace:
    """verl's `core_algos`: the functions used here."""

    class Configured:
        """Stands for verl's settings of an actor: attributes, and `get` as a mapping has it."""

        def __init__(self, **values: Any) -> None:
            usual: dict[str, Any] = {
                "clip_ratio": 0.2,
                "clip_ratio_low": None,
                "clip_ratio_high": None,
                "global_batch_info": {},
            }
            self.__dict__ |= usual | values

        def get(self, name: str, default: Any) -> Any:
            return self.__dict__.get(name, default)

    kinds = {"AlgoConfig": type("AlgoConfig", (), {}), "ActorConfig": Configured, "DictConfig": Configured}
    helpers = ("masked_sum", "masked_mean", "masked_var", "masked_whiten", "clip_by_value")
    tools = SimpleNamespace(**definitions("verl", "utils/torch_functional.py", helpers, kinds))
    names = (
        *("compute_gae_advantage_return", "compute_grpo_outcome_advantage", "compute_rloo_outcome_advantage"),
        *("compute_reinforce_plus_plus_outcome_advantage", "compute_remax_outcome_advantage"),
        *("compute_reinforce_plus_plus_baseline_outcome_advantage", "compute_gpg_outcome_advantage", "agg_loss"),
        *("compute_policy_loss_vanilla", "compute_policy_loss_gspo", "compute_policy_loss_cispo"),
        *("compute_policy_loss_gpg", "compute_value_loss", "kl_penalty", "kl_penalty_forward"),
        "AdaptiveKLController",
    )
    found = definitions("verl", "trainer/ppo/core_algos.py", names, kinds | {"verl_F": tools})
    return SimpleNamespace(**found, Configured=Configured)


@cache
def openrlhf() -> SimpleNamespace:
    """OpenRLHF's losses and advantages: the classes and functions used here."""
    means = definitions(
        "openrlhf", "models/utils.py", ("masked_mean", "compute_approx_kl"), {"KL_IS_WEIGHT_CLIP": 10.0}
    )
    given = means | {"nn": torch.nn, "F": torch.nn.functional, "dist": torch.distributed}
    found = definitions("openrlhf", "models/loss.py", ("aggregate_loss", "PolicyLoss", "ValueLoss"), given)
    maker = ("RemoteExperienceMaker.get_advantages_and_returns", "RemoteExperienceMaker.get_cumulative_returns")
    found |= definitions("openrlhf", "trainer/ppo_utils/experience_maker.py", maker)
    found |= definitions("openrlhf", "trainer/ppo_utils/length_penalty.py", ("apply_overlong_penalty",))
    found |= definitions("openrlhf", "trainer/ppo_utils/kl_controller.py", ("AdaptiveKLController",))
    return SimpleNamespace(**found)
