"""Memory that a step frees and takes again is not faulted in anew."""

import subprocess
import sys

import pytest

FAULTS = """
import resource, sys, torch
from hizala.engines.train.heap import keep_freed_memory
torch.set_num_threads(1)
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def use():
    torch.ones(12_000_000).mul_(2.0)
for _ in range(3):
    use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, text=True, timeout=120, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the GNU C library")
def test_freed_memory_is_taken_again_without_page_faults():
    assert faults("leave") > 20 * 100
    assert faults("keep") < 100
