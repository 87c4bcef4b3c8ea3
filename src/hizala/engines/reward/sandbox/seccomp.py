"""The system calls a program in the sandbox may make: a seccomp filter, assembled by hand.

An allow list. Whatever is not on it answers ENOSYS, as an older kernel would, so that a C library falls back to
what it used before; calls that are allowed for some arguments only answer EPERM for the others. Left out on purpose:
ptrace and its kin, mounts and namespaces, keyrings, bpf, perf, io_uring, userfaultfd, memory that no limit counts
(memfd, System V and POSIX shared memory), every socket but local ones, clocks, modules, `sync`.
"""

from __future__ import annotations

import errno
import platform
import struct
from collections.abc import Mapping, Sequence

from hizala.errors import SandboxError

# name:number on x86_64:number on aarch64; an empty number: the call does not exist there.
_ALLOWED = """
# files
read:0:63 write:1:64 open:2: openat:257:56 openat2:437:437 close:3:57 close_range:436:436 creat:85: stat:4:
fstat:5:80 lstat:6: newfstatat:262:79 statx:332:291 access:21: faccessat:269:48 faccessat2:439:439 lseek:8:62
pread64:17:67 pwrite64:18:68 readv:19:65 writev:20:66 preadv:295:69 pwritev:296:70 preadv2:327:286
pwritev2:328:287 sendfile:40:71 copy_file_range:326:285 splice:275:76 tee:276:77 dup:32:23 dup2:33: dup3:292:24
fcntl:72:25 flock:73:32 fsync:74:82 fdatasync:75:83 truncate:76:45 ftruncate:77:46 fallocate:285:47
fadvise64:221:223 getdents:78: getdents64:217:61 getcwd:79:17 chdir:80:49 fchdir:81:50 rename:82:
renameat:264:38 renameat2:316:276 mkdir:83: mkdirat:258:34 rmdir:84: link:86: linkat:265:37 unlink:87:
unlinkat:263:35 symlink:88: symlinkat:266:36 readlink:89: readlinkat:267:78 chmod:90: fchmod:91:52
fchmodat:268:53 utime:132: utimes:235: utimensat:280:88 futimesat:261: umask:95:166 statfs:137:43 fstatfs:138:44
pipe:22: pipe2:293:59 mknod:133: mknodat:259:33 getxattr:191:8 lgetxattr:192:9 fgetxattr:193:10 listxattr:194:11
llistxattr:195:12 flistxattr:196:13
# memory
mmap:9:222 munmap:11:215 mremap:25:216 mprotect:10:226 madvise:28:233 brk:12:214 mincore:27:232 msync:26:227
membarrier:324:283
# processes
fork:57: vfork:58: execve:59:221 execveat:322:281 exit:60:93 exit_group:231:94 wait4:61:260 waitid:247:95
kill:62:129 tkill:200:130 tgkill:234:131 getpid:39:172 getppid:110:173 gettid:186:178 getpgid:121:155
getpgrp:111: getsid:124:156 setpgid:109:154 setsid:112:157 getuid:102:174 geteuid:107:175 getgid:104:176
getegid:108:177 getresuid:118:148 getresgid:120:150 getgroups:115:158 set_tid_address:218:96
set_robust_list:273:99 get_robust_list:274:100 rseq:334:293 arch_prctl:158: getrlimit:97:163 setrlimit:160:164
prlimit64:302:261 getrusage:98:165 times:100:153 sysinfo:99:179 uname:63:160 getpriority:140:141
setpriority:141:140 getcpu:309:168 sched_yield:24:124 sched_getaffinity:204:123 sched_getparam:143:121
sched_getscheduler:145:120 sched_get_priority_max:146:125 sched_get_priority_min:147:126
sched_rr_get_interval:148:127 capget:125:90
# signals and time
rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 rt_sigpending:127:136 rt_sigsuspend:130:133
rt_sigtimedwait:128:137 sigaltstack:131:132 pause:34: alarm:37: setitimer:38:103 getitimer:36:102
restart_syscall:219:128 signalfd:282: signalfd4:289:74 clock_gettime:228:113 clock_getres:229:114
clock_nanosleep:230:115 nanosleep:35:101 gettimeofday:96:169 time:201: timer_create:222:107
timer_settime:223:110 timer_gettime:224:108 timer_delete:226:111 timer_getoverrun:225:109 timerfd_create:283:85
timerfd_settime:286:86 timerfd_gettime:287:87 futex:202:98 getrandom:318:278
# waiting and local sockets
poll:7: ppoll:271:73 select:23: pselect6:270:72 epoll_create:213: epoll_create1:291:20 epoll_ctl:233:21
epoll_wait:232: epoll_pwait:281:22 epoll_pwait2:441:441 eventfd:284: eventfd2:290:19 connect:42:203 bind:49:200
listen:50:201 accept:43:202 accept4:288:242 getsockname:51:204 getpeername:52:205 sendto:44:206 recvfrom:45:207
sendmsg:46:211 recvmsg:47:212 sendmmsg:307:269 recvmmsg:299:243 shutdown:48:210 setsockopt:54:208
getsockopt:55:209
"""
# Allowed for some arguments: which argument, how it is tested, values.
_FILTERED = "clone:56:220 socket:41:198 socketpair:53:199 ioctl:16:29 prctl:157:167"
_NAMESPACES = 0x7E020000  # every CLONE_NEW* flag
_IOCTLS = (  # what terminals, pipes and files are asked; nothing that puts input into a terminal
    *(0x5401, 0x5402, 0x5403, 0x5404, 0x540F, 0x5410, 0x5413),  # TCGETS, TCSETS*, TIOC[GS]PGRP, TIOCGWINSZ
    *(0x541B, 0x5421, 0x5450, 0x5451),  # FIONREAD, FIONBIO, FIONCLEX, FIOCLEX
)
# Name, no_new_privs, and questions. Not PR_SET_PDEATHSIG: a program would outlive the one who started it.
_PRCTLS = (2, 3, 15, 16, 23, 38, 39)
_AF_UNIX = 1
_ARGUMENTS: Mapping[str, tuple[int, str, tuple[int, ...]]] = {
    "clone": (0, "none of", (_NAMESPACES,)),
    "socket": (0, "one of", (_AF_UNIX,)),
    "socketpair": (0, "one of", (_AF_UNIX,)),
    "ioctl": (1, "one of", _IOCTLS),
    "prctl": (0, "one of", _PRCTLS),
}

MACHINES: Mapping[str, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_*

_LOAD, _JUMP_EQ, _JUMP_SET, _RETURN = 0x20, 0x15, 0x45, 0x06  # struct sock_filter codes
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000  # SECCOMP_RET_*
_NUMBER, _ARCH, _ARGS = 0, 4, 16  # offsets in struct seccomp_data; the low half of an argument stands first

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def numbers(machine: str) -> dict[str, int]:
    """Name to number of every call that is allowed always or for some arguments.

    Raises:
        SandboxError: no table for that machine.
    """
    if machine not in MACHINES:
        raise SandboxError(
            f"the sandbox knows the system calls of {' and '.join(MACHINES)}, not of {machine}",
            fix="run on such a machine, or score without a reward that runs code",
        )
    column = 1 + list(MACHINES).index(machine)
    rows = [entry.split(":") for entry in f"{_ALLOWED} {_FILTERED}".split() if ":" in entry]
    return {row[0]: int(row[column]) for row in rows if row[column]}


def program(machine: str) -> list[Instruction]:
    """The filter as instructions: each block compares with one call and falls through to the next."""
    code: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        (_JUMP_EQ, 1, 0, MACHINES.get(machine, 0)),
        (_RETURN, 0, 0, _KILL),  # another instruction set's numbers mean other calls
        (_LOAD, 0, 0, _NUMBER),
    ]
    for name, number in numbers(machine).items():
        block = _block(name)
        code.append((_JUMP_EQ, 0, len(block), number))
        code += block
    code.append((_RETURN, 0, 0, _ERRNO | errno.ENOSYS))
    return code


def _block(name: str) -> list[Instruction]:
    """What is done once the call is known: a constant answer, or a look at one argument."""
    if name not in _ARGUMENTS:
        return [(_RETURN, 0, 0, _ALLOW)]
    index, how, values = _ARGUMENTS[name]
    load: list[Instruction] = [(_LOAD, 0, 0, _ARGS + 8 * index)]
    refuse, allow = (_RETURN, 0, 0, _ERRNO | errno.EPERM), (_RETURN, 0, 0, _ALLOW)
    if how == "none of":
        return [*load, (_JUMP_SET, 0, 1, values[0]), refuse, allow]
    # A hit jumps over the rest of the comparisons and over the refusal.
    tests = [(_JUMP_EQ, len(values) - place, 0, value) for place, value in enumerate(values)]
    return [*load, *tests, refuse, allow]


def assemble(code: Sequence[Instruction]) -> bytes:
    """Instructions as the kernel reads them: an array of `struct sock_filter`."""
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def filter_for(machine: str = "") -> bytes:
    """The filter for a machine (default: this one), ready for `bwrap --seccomp`."""
    return assemble(program(machine or platform.machine()))
