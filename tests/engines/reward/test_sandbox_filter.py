"""The seccomp filter by itself: its decisions, evaluated as the kernel would, on both machines."""

from __future__ import annotations

import errno
import re
import struct
from pathlib import Path

import pytest

from hizala.engines.reward.sandbox.seccomp import MACHINES, assemble, filter_for, numbers, program
from hizala.errors import SandboxError

ALLOW, KILL = "allow", "kill"
# Calls that reach the kernel's riskier corners, with their numbers on x86_64 and aarch64.
REFUSED = {
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "clone3": (435, 435),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "io_uring_setup": (425, 425),
    "userfaultfd": (323, 282),
    "memfd_create": (319, 279),
    "shmget": (29, 194),
    "mq_open": (240, 180),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "settimeofday": (164, 170),
    "sync": (162, 81),
    "setuid": (105, 146),
    "sched_setaffinity": (203, 122),
    "pidfd_getfd": (438, 438),
    "fsopen": (430, 430),
    "personality": (135, 92),
}
AF_UNIX, AF_INET, AF_NETLINK, AF_ALG = 1, 2, 16, 38
THREAD = 0x3D0F00  # the flags a thread is made with
NEW_USER, NEW_NET = 0x10000000, 0x40000000


def decide(code: bytes, arch: int, number: int, *arguments: int) -> str | int:
    """What the filter answers: "allow", "kill", or the error number. An evaluation of classic BPF."""
    data = struct.pack("<IIQ6Q", number, arch, 0, *(*arguments, *[0] * (6 - len(arguments))))
    held, at = 0, 0
    while True:
        kind, yes, no, constant = struct.unpack_from("<HBBI", code, at * 8)
        at += 1
        if kind == 0x20:
            held = struct.unpack_from("<I", data, constant)[0]
        elif kind == 0x15:
            at += yes if held == constant else no
        elif kind == 0x45:
            at += yes if held & constant else no
        else:
            assert kind == 0x06
            if constant & 0xFFFF0000 == 0x00050000:
                return int(constant & 0xFFFF)
            return {0x7FFF0000: ALLOW, 0x80000000: KILL}[constant]


@pytest.mark.parametrize("machine", MACHINES)
def test_what_programs_need_is_allowed_and_all_else_does_not_exist(machine: str) -> None:
    code, arch, known = assemble(program(machine)), MACHINES[machine], numbers(machine)
    filtered = {"clone", "socket", "socketpair", "ioctl", "prctl"}
    assert filtered < set(known)
    for number in range(1024):
        if number in known.values():
            continue
        assert decide(code, arch, number) == errno.ENOSYS
    for name, number in known.items():
        if name not in filtered:
            assert decide(code, arch, number) == ALLOW, name


@pytest.mark.parametrize(("column", "machine"), list(enumerate(MACHINES)))
def test_dangerous_calls_are_not_on_the_list(column: int, machine: str) -> None:
    code, arch = filter_for(machine), MACHINES[machine]
    for name, pair in REFUSED.items():
        assert decide(code, arch, pair[column]) == errno.ENOSYS, name


@pytest.mark.parametrize("machine", MACHINES)
def test_arguments_decide_where_a_call_is_allowed_in_part(machine: str) -> None:
    code, arch, known = filter_for(machine), MACHINES[machine], numbers(machine)
    for call in ("socket", "socketpair"):
        assert decide(code, arch, known[call], AF_UNIX, 1) == ALLOW
        for family in (AF_INET, 10, AF_NETLINK, AF_ALG, 17, 40, AF_UNIX + (1 << 16)):
            assert decide(code, arch, known[call], family, 1) == errno.EPERM
    assert decide(code, arch, known["clone"], THREAD) == ALLOW
    assert decide(code, arch, known["clone"], 17) == ALLOW
    for shift in (17, 25, 26, 27, 28, 29, 30):
        assert decide(code, arch, known["clone"], 17 | 1 << shift) == errno.EPERM
    assert decide(code, arch, known["ioctl"], 0, 0x5401) == ALLOW
    assert decide(code, arch, known["ioctl"], 0, 0x5412) == errno.EPERM  # TIOCSTI types into a terminal
    assert decide(code, arch, known["prctl"], 15) == ALLOW
    for option in (1, 4, 22, 35):  # PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_SET_MM
        assert decide(code, arch, known["prctl"], option) == errno.EPERM


@pytest.mark.parametrize("machine", MACHINES)
def test_numbers_of_another_instruction_set_end_the_process(machine: str) -> None:
    code = filter_for(machine)
    others = [0x40000003, 0x40000028, *(arch for name, arch in MACHINES.items() if name != machine)]  # i386, arm
    assert {decide(code, arch, 1) for arch in others} == {KILL}
    if machine == "x86_64":  # the x32 numbers carry a bit that no entry has
        assert decide(code, MACHINES[machine], 0x40000000 | 59) == errno.ENOSYS


def test_a_filter_fits_into_the_kernels_bounds() -> None:
    for machine in MACHINES:
        assert len(filter_for(machine)) // 8 <= 4096


def test_no_table_means_no_sandbox() -> None:
    with pytest.raises(SandboxError, match="not of riscv64"):
        filter_for("riscv64")


HEADERS = {
    "x86_64": (Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"), r"#define __NR_(\w+) (\d+)"),
    "aarch64": (Path("/usr/include/asm-generic/unistd.h"), r"#define __NR(?:3264)?_(\w+) (\d+)"),
}


@pytest.mark.parametrize("machine", HEADERS)
def test_numbers_are_the_kernels(machine: str) -> None:
    path, pattern = HEADERS[machine]
    if not path.exists():
        pytest.skip("the kernel's headers are not installed")
    true = {name: int(number) for name, number in re.findall(pattern, path.read_text())}
    for name, number in numbers(machine).items():
        # The generic table names two calls after the width of their numbers.
        assert true.get(name, true.get({"newfstatat": "fstatat"}.get(name, ""))) == number, name
