"""Mean and spread of the KL estimators on tabular policies: `python scripts/kl_table.py` writes them into a page.

Every number is an exact expectation over all tokens, computed with the library's own estimators: nothing is sampled.
`--check` writes nothing and fails when the table of docs/methods/kl.md is not the one that the code gives.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from hizala.core.kl import ESTIMATORS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "methods" / "kl.md"
PLACE = re.compile(r"^\| distance \| KL \|.*\n(?:\|.*\n)+", re.M)
TOKENS, DISTANCES = 64, (0.03, 0.1, 0.3, 1.0, 2.0)


def policies(distance: float) -> tuple[Tensor, Tensor]:
    """Log-probs of a policy of 64 tokens and of a reference whose logits are `distance` away from its own."""
    logits, step = np.random.default_rng(0).normal(size=(2, TOKENS))
    pair = torch.from_numpy(np.stack([2 * logits, 2 * logits + distance * step])).log_softmax(1)
    return pair[0], pair[1]


def moments(name: str, policy: Tensor, reference: Tensor) -> tuple[float, float]:
    """Exact mean and standard deviation of one estimate, nats, over the policy's own tokens."""
    found, chance = ESTIMATORS[name](policy, reference), policy.exp()
    mean = (chance * found).sum()
    return float(mean), float((chance * (found - mean).square()).sum().sqrt())


def table() -> str:
    """Markdown: one line a distance."""
    names = tuple(ESTIMATORS)
    head = ["distance", "KL", *(f"bias of {n}" for n in names), *(f"deviation of {n}" for n in names), "$k_1 < 0$"]
    out = ["| " + " | ".join(head) + " |", "|" + "---:|" * len(head)]
    for distance in DISTANCES:
        policy, reference = policies(distance)
        exact = float((policy.exp() * (policy - reference)).sum())
        each = {name: moments(name, policy, reference) for name in names}
        bias = [f"{100 * (each[name][0] / exact - 1):+.1f} %".replace("-0.0", "+0.0") for name in names]
        spread = [f"{each[name][1]:.2g}" for name in names]
        negative = float(policy.exp()[policy < reference].sum())
        out.append(
            "| " + " | ".join([f"{distance:g}", f"{exact:.2g}", *bias, *spread, f"{100 * negative:.0f} %"]) + " |"
        )
    return "\n".join(out) + "\n"


def main() -> int:
    """Write the table into its page, or check it."""
    parse = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parse.add_argument("--check", action="store_true", help="write nothing; fail when the table is not current")
    page = PAGE.read_text(encoding="utf-8")
    made = PLACE.sub(lambda _: table(), page)
    if parse.parse_args().check:
        print("current" if made == page else "not current: run python scripts/kl_table.py")
        return 0 if made == page else 1
    PAGE.write_text(made, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
