"""Ring 2: each folder touches one outside thing; siblings never import each other."""
