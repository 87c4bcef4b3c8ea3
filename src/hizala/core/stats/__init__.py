"""Statistics of evaluation: values in, estimates with intervals out. NumPy only, no torch."""

from hizala.core.stats.bootstrap import mean_interval, paired_difference, proportion_interval, wilson

__all__ = ["mean_interval", "paired_difference", "proportion_interval", "wilson"]
