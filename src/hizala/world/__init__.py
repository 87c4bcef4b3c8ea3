"""The embedded world: tasks with a known truth, and a small model that speaks its language."""
