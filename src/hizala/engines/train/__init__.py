"""Devices: the step, optimiser, schedules, checkpoints."""
