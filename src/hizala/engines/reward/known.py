"""Importing this module registers every reward that ships. A reward in a file of its own is added here."""

from hizala.engines.reward import gold, math

__all__ = ["gold", "math"]
