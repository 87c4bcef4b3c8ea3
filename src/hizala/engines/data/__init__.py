"""Disk to groups to tokens."""

from hizala.engines.data.groups import GroupSource, read

__all__ = ["GroupSource", "read"]
