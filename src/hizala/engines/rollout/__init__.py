"""Generation: what samples from a policy, and the distribution it samples from."""
