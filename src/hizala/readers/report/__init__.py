"""The report: one HTML file that shows a run, made from its directory alone. No torch, no network."""

from hizala.readers.report.page import render, write

__all__ = ["render", "write"]
