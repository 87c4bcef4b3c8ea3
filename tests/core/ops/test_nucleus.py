"""The cut that holds a share of the probability equals its definition, token by token."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hizala.core.ops.nucleus import FEW, Cut, nucleus


def kept_by_definition(row, floor, share):
    """Columns in falling order of probability, earlier columns first, until those before hold the share."""
    probs = np.where(row >= floor, np.exp(row.astype(np.float64) - row.max()), 0)
    probs, kept, held = probs / probs.sum(), set(), 0.0
    for column in sorted(range(len(row)), key=lambda c: (-row[c], c)):
        if held >= share:
            break
        kept.add(column)
        held += probs[column]
    return kept


@pytest.mark.parametrize("share", [1e-6, 0.3, 0.8, 0.99])
@pytest.mark.parametrize("columns", [1, 7, FEW, 3 * FEW])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_what_is_kept_is_the_smallest_set_that_holds_the_share(columns, share, spread):
    logits = torch.randn(23, columns, generator=torch.Generator().manual_seed(columns)) * spread
    floor = logits.median(-1).values
    floor[::2] = -torch.inf
    kept = nucleus(logits, floor, share).keeps(logits)
    for row in range(len(logits)):
        expected = kept_by_definition(logits[row].numpy(), floor[row].item(), share)
        assert set(kept[row].nonzero()[:, 0].tolist()) == expected


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_of_equal_logits_the_earlier_columns_stay(share):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randint(0, 3, (40, 3 * FEW), generator=generator).float()
    logits[0] = 1.0
    kept = nucleus(logits, torch.full((40,), -torch.inf), share).keeps(logits)
    for row in range(len(logits)):
        assert set(kept[row].nonzero()[:, 0].tolist()) == kept_by_definition(logits[row].numpy(), -np.inf, share)


def test_one_logit_a_row_is_kept_as_the_whole_row_says():
    logits = torch.randint(0, 4, (50, 20), generator=torch.Generator().manual_seed(0)).float()
    cut = Cut(torch.full((50,), 2.0), torch.randint(0, 20, (50,), generator=torch.Generator().manual_seed(1)))
    kept = cut.keeps(logits)
    for column in range(20):
        columns = torch.full((50,), column)
        assert torch.equal(cut.holds(logits[:, column], columns), kept[:, column])
