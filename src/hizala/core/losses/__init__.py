"""Losses: one pure function each. Importing this package registers them all."""

from hizala.core.losses import (
    lengths,
    likelihood,
    listwise,
    pairwise,
    pairwise_sides,
    policy,
    reference_free,
    regularisers,
    reward,
    token_level,
    transport,
    unpaired,
    value,
)

__all__ = [
    "lengths",
    "likelihood",
    "listwise",
    "pairwise",
    "pairwise_sides",
    "policy",
    "reference_free",
    "regularisers",
    "reward",
    "token_level",
    "transport",
    "unpaired",
    "value",
]
