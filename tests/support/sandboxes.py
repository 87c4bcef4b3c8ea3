"""Whether a sandbox can be had on this machine; tests that need one say so with `NEEDS`."""

from __future__ import annotations

import pytest

from hizala.engines.reward.sandbox import Sandbox
from hizala.errors import SandboxError


def _lacking() -> str:
    try:
        with Sandbox():
            return ""
    except SandboxError as error:
        return error.message


LACKING = _lacking()
NEEDS = pytest.mark.skipif(bool(LACKING), reason=LACKING)
