"""Model weights: load, forest forward, heads, adapters."""
