"""Disk to groups to tokens."""
