"""Importing this module registers every reward that ships. A reward in a file of its own is added here."""

from hizala.engines.reward import code, format, gold, judge_http, language, length, math, models, patterns, repetition

__all__ = ["code", "format", "gold", "judge_http", "language", "length", "math", "models", "patterns", "repetition"]
