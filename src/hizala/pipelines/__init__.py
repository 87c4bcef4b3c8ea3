"""Ring 3a: order things and write run directories."""
