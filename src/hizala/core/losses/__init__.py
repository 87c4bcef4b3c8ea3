"""Losses: one pure function each. Importing this package registers them all."""

from hizala.core.losses import likelihood, pairwise

__all__ = ["likelihood", "pairwise"]
