"""One entry a registered loss. `tests/laws/test_conformance_complete.py` fails where a loss has none."""

from __future__ import annotations

from conformance import Entry
from conformance_pairs import PAIRWISE
from conformance_rollouts import ROLLOUTS
from conformance_sets import REWARD, SETS

ENTRIES: dict[str, Entry] = PAIRWISE | REWARD | ROLLOUTS | SETS
