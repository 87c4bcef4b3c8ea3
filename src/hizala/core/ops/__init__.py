"""Differentiable operations with a backward of their own: pure tensor arithmetic, no modules."""
