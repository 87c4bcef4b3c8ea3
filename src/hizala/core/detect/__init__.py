"""Detectors: pure functions on text and figures. No torch."""
