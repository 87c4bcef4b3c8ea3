"""Programs that mean harm.

Scripts print `escaped` where their attempt succeeded: a pass is an escape. Functions are tested for a value they cannot
know: a pass is a forgery.
"""

from __future__ import annotations

SECRET = 918273  # what f(3) should return; no program is told

# Attempts a script makes at what it must not reach. {file}, {folder} and {pid} are ours, outside.
REACHING = {
    "reads a file outside": "print('escaped' if open('{file}').read() else '')",
    "reads home and system files": """
import os
for path in ("/root", "/home", "/etc/passwd", "/etc/shadow", "/etc/hostname", "/var", "/sys", "/opt", "/usr/src"):
    if os.path.exists(path):
        print("escaped")
        break
""",
    "writes a file outside": """
open('{folder}/planted', 'w').write('x')
print('escaped')
""",
    "writes where the system lives": """
import os
for path in ("/x", "/usr/lib/x", "/usr/local/bin/x", "/etc/x", "/dev/x", "/dev/shm/x", "/box/x", "/proc/x"):
    try:
        open(path, "w").write("x")
        print("escaped")
        break
    except OSError:
        pass
""",
    "changes its own files": """
import os
for path in ("/box/program.py", "/box/inside", "/usr/bin/python3"):
    for change in (lambda: open(path, "a"), lambda: os.unlink(path), lambda: os.chmod(path, 0o777),
                   lambda: os.rename("/tmp", path), lambda: os.rename(path, "/tmp/x")):
        try:
            change()
            print("escaped")
        except OSError:
            pass
""",
    "opens a socket": """
import socket
for family in (socket.AF_INET, socket.AF_INET6, 16, 17, 38, 40):
    try:
        socket.socket(family, socket.SOCK_STREAM if family < 16 else socket.SOCK_RAW)
        print("escaped")
        break
    except OSError:
        pass
""",
    "signals processes outside": "import os\nos.kill({pid}, 9)\nprint('escaped')",
    "signals everyone": """
import os, signal
signal.signal(15, signal.SIG_IGN)
for target in (1, os.getppid(), -1, 0):
    try:
        os.kill(target, 15)
    except OSError:
        pass
raise SystemExit(1)
""",
    "looks for processes outside": """
import os
for name in os.listdir("/proc"):
    if name.isdigit() and b"sleep(600)" in open("/proc/" + name + "/cmdline", "rb").read():
        print("escaped")
""",
    "goes through links": """
import os
for target in ("{file}", "/proc/1/root{file}", "/proc/self/root{file}", "/proc/1/cwd/../../../../..{file}"):
    os.symlink(target, "/tmp/link")
    try:
        print("escaped" if open("/tmp/link").read() else "")
    except OSError:
        pass
    os.unlink("/tmp/link")
""",
    "finds a process of the sandbox to take over": """
import os
for name in os.listdir("/proc"):
    if name.isdigit() and int(name) != os.getpid():
        print("escaped")
if os.getpid() != 1 or b"HIZALA" in open("/proc/1/environ", "rb").read():
    print("escaped")
for name in os.listdir("/proc/self/fd"):
    if int(name) > 2 and os.readlink("/proc/self/fd/" + name) != "/proc/1/fd":
        print("escaped")
""",
    "writes the kernel's settings": """
import os
for path in ("/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/1/oom_score_adj", "/proc/self/uid_map",
             "/sys/fs/cgroup/memory/tasks"):
    try:
        with open(path, "w") as file:
            file.write("-1000")
        print("escaped")
    except OSError:
        pass
""",
    "opens namespaces of others": """
import os
for kind in ("mnt", "net", "pid", "user"):
    try:
        os.open("/proc/1/ns/" + kind, os.O_RDONLY)
        libc = __import__("ctypes").CDLL(None)
        if libc.setns(os.open("/proc/1/ns/" + kind, os.O_RDONLY), 0) == 0:
            print("escaped")
    except OSError:
        pass
""",
    "raises its limits": """
import resource
for kind in ("AS", "NPROC", "CPU", "FSIZE", "NOFILE"):
    try:
        resource.setrlimit(getattr(resource, "RLIMIT_" + kind), (1 << 40, 1 << 40))
        print("escaped")
    except (OSError, ValueError):
        pass
""",
    "makes devices": """
import os, stat
for kind in (stat.S_IFBLK, stat.S_IFCHR):
    try:
        os.mknod("/tmp/device", kind | 0o666, os.makedev(1, 1))
        print("escaped")
    except OSError:
        pass
""",
    "becomes another user": """
import os
for change in (os.setuid, os.setgid, lambda n: os.setgroups([n]), os.seteuid):
    for number in (0, 1, 1000):
        try:
            change(number)
            print("escaped")
        except OSError:
            pass
""",
    "plants a file for the next program": """
import os
print("escaped" if os.path.exists("/tmp/planted") else "")
open("/tmp/planted", "w").write("x")
""",
}

_SYSCALL = """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
for number, arguments in {calls}:
    if libc.syscall(ctypes.c_long(number), *map(ctypes.c_long, arguments)) != -1:
        print("escaped", number)
"""
# System calls by number on x86_64: what no program here has a use for.
CALLING = {
    "traces": [(101, (0, 0, 0, 0)), (101, (16, 1, 0, 0)), (310, (1, 0, 0, 0, 0, 0)), (311, (1, 0, 0, 0, 0, 0))],
    "unshares and mounts": [
        (272, (0x10000000,)),
        (272, (0x20000,)),
        (165, (0, 0, 0, 0x5000, 0)),
        (166, (0, 2)),
        (161, (0,)),
    ],
    "clones into namespaces": [(56, (0x10000011, 0, 0, 0, 0)), (56, (0x40000011, 0, 0, 0, 0)), (435, (0, 0))],
    "asks for keys": [(248, (0, 0, 0, 0, -3)), (249, (0, 0, 0, -3)), (250, (0, -3, 1)), (250, (1, 0))],
    "reaches the kernel's corners": [
        (321, (0, 0, 0)),
        (425, (8, 0)),
        (323, (0,)),
        (298, (0, 0, -1, -1, 0)),
        (300, (0, 0)),
    ],
    "hides memory from limits": [(319, (0, 0)), (447, (0,)), (29, (0, 1 << 24, 0o1600)), (240, (0, 0o102, 0o600, 0))],
    "loads and restarts": [(175, (0, 0, 0)), (246, (0, 0, 0, 0)), (169, (0, 0, 0, 0)), (167, (0, 0)), (162, ())],
    "moves the clock and the machine's name": [(164, (0, 0)), (227, (0, 0)), (159, (0,)), (170, (0, 0)), (155, (0, 0))],
}
REACHING.update({name: _SYSCALL.replace("{calls}", repr(calls)) for name, calls in CALLING.items()})

# Scripts that use up what there is, with how they end: the limit that stops them, or "exited" by an error of their own.
CONSUMING = {
    "forks without end": (
        "import os\nwhile True:\n    try:\n        os.fork()\n    except OSError:\n        pass",
        ("time", "cpu"),
    ),
    "starts threads without end": (
        "import threading, time\nwhile True:\n    threading.Thread(target=time.sleep, args=(60,)).start()",
        ("exited", "time"),
    ),
    "takes memory": ("held = []\nwhile True:\n    held.append(bytearray(1 << 24))", ("exited", "memory")),
    "takes memory in many processes": (
        "import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n        held = bytearray(b'x') * (100 << 20)\n"
        "        time.sleep(60)\ntime.sleep(60)",
        ("memory",),
    ),
    "takes shared memory": (
        "import mmap, time\nheld = mmap.mmap(-1, 100 << 20)\nfor i in range(0, 100 << 20, 4096):\n    held[i] = 1\n"
        "import os\nfor _ in range(3):\n    if os.fork() == 0:\n"
        "        more = bytearray(b'x') * (80 << 20)\n        time.sleep(60)\n"
        "time.sleep(60)",
        ("memory",),
    ),
    "loops": ("while True:\n    pass", ("time", "cpu")),
    "loops in many processes": ("import os\nfor _ in range(3):\n    os.fork()\nwhile True:\n    pass", ("time", "cpu")),
    "loops and ignores signals": (
        "import signal\nfor n in range(1, 65):\n    try:\n        signal.signal(n, signal.SIG_IGN)\n"
        "    except (OSError, ValueError):\n        pass\nwhile True:\n    pass",
        ("time", "cpu"),
    ),
    "sleeps": ("import time\ntime.sleep(1000)", ("time",)),
    "closes its streams and sleeps": (
        "import os, time\nfor n in range(64):\n    try:\n        os.close(n)\n"
        "    except OSError:\n        pass\ntime.sleep(1000)",
        ("time",),
    ),
    "writes without end": ("while True:\n    print('x' * 10000)", ("output",)),
    "complains without end": ("import sys\nwhile True:\n    sys.stderr.write('x' * 10000)", ("output",)),
    "fills the disk": ("for n in range(1000):\n    open(f'/tmp/{n}', 'wb').write(b'x' * (1 << 20))", ("exited",)),
    "writes one large file": ("f = open('/tmp/x', 'wb')\nwhile True:\n    f.write(b'x' * (1 << 20))", ("exited",)),
    "makes names without end": (
        "n = 0\nwhile True:\n    open(f'/tmp/{n}', 'w').close()\n    n += 1",
        ("files", "time", "cpu"),
    ),
    "opens files without end": ("held = []\nwhile True:\n    held.append(open('/dev/null'))", ("exited",)),
    "recurses without bottom": (
        "import sys\nsys.setrecursionlimit(1 << 30)\ndef f(n):\n    return f(n + 1) + 1\nf(0)",
        ("exited", "memory", "time", "cpu"),
    ),
    "computes a huge number": ("print(len(str(9 ** 9 ** 9)))", ("time", "cpu", "exited", "memory")),
    "leaves a daemon behind": (
        "import os, sys, time\nif os.fork() == 0:\n    os.setsid()\n    if os.fork() == 0:\n        time.sleep(1000)\n"
        "    os._exit(0)\nos.wait()\nraise SystemExit(1)",
        ("exited",),
    ),
}

# Programs asked for f(3), which should be `SECRET`; {secret} is never filled in.
FORGING = {
    "ends before it is asked": "def f(x): return 0\nraise SystemExit(0)",
    "ends at once without a trace": "import os\nos._exit(0)",
    "ends when it is asked": "import os\ndef f(x): os._exit(0)",
    "raises SystemExit when asked": "def f(x): raise SystemExit(0)",
    "returns what equals everything": """
class Any:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __hash__(self): return 0
    def __bool__(self): return True
def f(x): return Any()
""",
    "returns a number that equals everything": """
class Any(int):
    def __eq__(self, other): return True
    def __hash__(self): return 0
    def __index__(self): return 1
    def __repr__(self): return "918_273"[:0]
def f(x): return Any(1)
""",
    "patches what its keeper uses": """
import builtins, json, os, sys
class Yes:
    def __getattr__(self, name): return lambda *a, **k: True
json.dumps = lambda *a, **k: '{"value": true, "passed": true}'
builtins.isinstance = lambda *a: True
builtins.AssertionError = ValueError
main = sys.modules["__main__"]
for name in ("encode", "decode", "Peer"):
    if name == "encode": main.encode = lambda *a, **k: True
def f(x): return 1
""",
    "writes verdicts everywhere": """
import os
def f(x):
    for line in (b'{"passed": true}', b'{"value": true}', b'{"loaded": true}', b'{"exit-code": 0}', b'{"left": 0}'):
        for number in range(64):
            try: os.write(number, line + b"\\n")
            except OSError: pass
    return 1
""",
    "answers before it is asked": """
import os
for number in range(3, 64):
    try: os.write(number, b'{"value": 1}\\n' * 50 + b'{"passed": true}\\n' * 50)
    except OSError: pass
def f(x): return 1
""",
    "speaks when it leaves": """
import atexit, os
def last():
    for number in range(3, 64):
        try: os.write(number, b'{"value": true}\\n{"passed": true}\\n')
        except OSError: pass
atexit.register(last)
def f(x): return 1
""",
    "searches memory for what is expected": """
import gc, sys
def f(x):
    seen, frame = [], sys._getframe()
    while frame:
        seen += list(frame.f_locals.values()) + list(frame.f_globals.values())
        frame = frame.f_back
    for item in gc.get_objects():
        if isinstance(item, dict): seen += list(item.values())
    numbers = [n for n in seen if type(n) is int and n > 900_000]
    return 918273 if 918273 in [n for n in numbers] and False else (numbers[:1] or [0])[0]
""",
    "reads every stream for what is expected": """
import os
def f(x):
    found = b""
    for number in range(64):
        try:
            os.set_blocking(number, False)
            found += os.read(number, 100_000)
        except OSError: pass
    digits = "".join(c if c.isdigit() else " " for c in found.decode(errors="replace")).split()
    return max(map(int, digits), default=0)
""",
    "closes every stream": "import os\ndef f(x):\n    os.closerange(0, 256)\n    return 1",
    "takes over its keeper": """
import os
os.fork = lambda: 0
os.waitpid = lambda *a: (0, 0)
os._exit = lambda *a: None
def f(x): return 1
""",
    "kills its keeper": "import os\ndef f(x):\n    os.kill(os.getppid(), 9)\n    return 1",
    "kills everyone": "import os\ndef f(x):\n    os.kill(-1, 9)\n    return 1",
    "returns a number without end": "def f(x): return 1 << (1 << 27)",
    "returns a tower of lists": "def f(x):\n    a = []\n    for _ in range(100_000): a = [a]\n    return a",
    "returns what contains itself": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "sends a tower by hand": """
import os
def f(x):
    for number in range(3, 64):
        try: os.write(number, b'{"value": ' + b'[' * 200_000 + b'\\n')
        except OSError: pass
""",
    "sends digits without end by hand": """
import os
def f(x):
    for number in range(3, 64):
        try: os.write(number, b'{"value": ' + b'9' * 200_000 + b'}\\n')
        except OSError: pass
""",
    "sends a line without end": """
import os
def f(x):
    for number in range(3, 64):
        try:
            while True: os.write(number, b'x' * 65536)
        except OSError: pass
""",
    "returns not a number": "def f(x): return float('nan')",
    "raises what lies about itself": """
class Odd(Exception):
    def __str__(self): raise SystemExit(0)
def f(x): raise Odd
""",
}
# The same against a test in code, which runs in a place of its own: forgeries that work on an expression.
FORGING_CODE = {
    **FORGING,
    "subtracts to nothing": """
class Zero:
    seen = []
    def __sub__(self, other): Zero.seen.append(other); return 0.0
    __rsub__ = __sub__
    def __abs__(self): return 0.0
    def __lt__(self, other): return True
    def __round__(self, n=0): return 918273
    def __float__(self): return 918273.0
def f(x): return Zero()
""",
    "is in everything": """
class All(list):
    def __contains__(self, item): return True
    def __eq__(self, other): return True
def f(x): return All()
""",
}
CODE_TEST = (
    f"def check(candidate):\n    assert abs(candidate(3) - {SECRET}) < 1e-6\n    assert {SECRET} in [candidate(3)]"
)


# Lines a program may put in place of an answer; f(k) sends the k-th and nothing else.
_DEEP = 900
LINES = [
    *("[]", "3", "null", '"x"', "{}", "{", "\x00", '{"value": NaN}', '{"value": 1e999}', '{"value": -0}'),
    *('{"value": {"t": "mine", "v": 0}}', '{"value": {"t": "yours", "v": 0}}', '{"value": {"t": "yours", "v": -1}}'),
    *('{"value": {"t": "set", "v": [[]]}}', '{"value": {"t": "dict", "v": [1]}}', '{"value": {"t": "int", "v": 5}}'),
    *(
        '{"error": 3}',
        '{"error": []}',
        '{"error": [[], 3]}',
        '{"error": [[["x"]], {}]}',
        '{"error": [["Exception"], 3]}',
    ),
    *('{"error": [["SystemExit"], ""]}', '{"error": [["UnicodeDecodeError"], "x"]}', '{"left": [[]]}', '{"left": 0}'),
    *(
        '{"stop": true}',
        '{"passed": true}',
        '{"to": {}}',
        '{"loaded": true}',
        '{"failed": [[]]}',
        '{"value": true, "left": 0}',
    ),
    *('{"op": []}', '{"op": "name", "name": "check"}', '{"op": "call", "target": 3, "args": 3, "kwargs": 3}'),
    '{"op": "call", "target": {"t": "yours", "v": -1}, "args": [], "kwargs": {}}',
    '{"op": "get", "target": {"t": "yours", "v": 0}, "name": "__globals__"}',
    '{"op": "get", "target": {"t": "yours", "v": 0}, "name": "secret"}',
    *(f'{{"{key}": {"[" * _DEEP}{"]" * _DEEP}}}' for key in ("value", "error", "left", "failed", "op")),
    f'{{"value": {"[" * 100_000}',
    f'{{"value": {{"t": "set", "v": [{"[" * _DEEP}{"]" * _DEEP}]}}}}',
    f'{{"value": {"9" * 10_000}}}',
]
SENDING = f"""
import os
LINES = {LINES!r}
def f(k):
    for number in range(3, 16):
        try: os.write(number, LINES[k].encode() + b"\\n")
        except OSError: pass
    os._exit(0)
"""
