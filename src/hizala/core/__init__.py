"""Ring 1: alignment mathematics as pure functions, values to values."""
