"""Ring 3b: read run directories; no torch."""
