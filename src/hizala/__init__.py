"""Hizala: LLM alignment engineering, from a base model to an aligned, evaluated and served one."""

__version__ = "0.1.0"
