"""From a program to a command line: which tools there are, and what they are told."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hizala.engines.reward.sandbox.spec import BOX, Language, Limits
from hizala.errors import SandboxError

TRUSTED = "none_i_trust_the_code"
NOBODY = 65534  # inside; outside it is the caller, or an id of our own where the caller is root
# One id a slot, from a range that distributions leave free for services without an account.
FIRST_ID, IDS = 64100, 400
INSTALL = (
    "install it (`apt-get install bubblewrap util-linux`, `dnf install bubblewrap util-linux`), version 0.8 or newer, "
    "and allow user namespaces: kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0, "
    "and in a container a seccomp profile that lets unshare and mount through. Or set "
    f"`sandbox: {TRUSTED}` where every program is your own"
)
# What of the system a program sees, read-only. Not all of /usr: /usr/src and /usr/share hold other people's files.
_VISIBLE = (
    *("/usr/bin", "/usr/lib", "/usr/lib32", "/usr/lib64", "/usr/libexec"),
    *("/usr/local/bin", "/usr/local/lib", "/usr/local/lib64"),
    *("/usr/share/zoneinfo", "/etc/ld.so.cache", "/etc/alternatives"),
)
_LINKS = ("/bin", "/lib", "/lib32", "/lib64")
_WHERE = os.pathsep.join(("/usr/local/bin", "/usr/bin", "/bin", "/usr/local/sbin", "/usr/sbin", "/sbin"))


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A program that runs programs: its path, and folders to show besides the usual ones."""

    path: str
    mounts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tools:
    """Paths of what confines a run; `bwrap` is empty where code is trusted, `setpriv` where nobody is root."""

    prlimit: str
    bwrap: str = ""
    setpriv: str = ""


def is_root() -> bool:
    """Whether this process may do what it likes, so that a program must not be started as it is."""
    return os.geteuid() == 0


def find_tools(isolation: str) -> Tools:
    """The tools this isolation needs.

    Raises:
        SandboxError: not Linux, or one of them is missing.
    """
    if sys.platform != "linux":
        raise SandboxError(
            f"the sandbox for code needs Linux, and this is {sys.platform}",
            fix="run in a Linux container or virtual machine",
        )
    wanted = {"prlimit": True, "bwrap": isolation != TRUSTED, "setpriv": is_root()}
    found = {name: shutil.which(name, path=_WHERE) or "" for name, needed in wanted.items() if needed}
    missing = [name for name, path in found.items() if not path]
    if missing:
        packages = {"bwrap": "Bubblewrap (bwrap)", "prlimit": "prlimit (util-linux)", "setpriv": "setpriv (util-linux)"}
        names = " and ".join(packages[name] for name in missing)
        raise SandboxError(f"the sandbox for code needs {names}, not found here", fix=INSTALL)
    return Tools(**found)


def find_interpreter(language: Language, isolation: str) -> Interpreter:
    """Where programs of this language are run with.

    The system's own is preferred; for Python the one that runs now comes last, with its folder shown read-only.

    Raises:
        SandboxError: there is none.
    """
    for name in language.programs:
        path = shutil.which(name, path=_WHERE)
        if path is None and (name.startswith("python") or isolation == TRUSTED):
            path = sys.executable if name.startswith("python") else shutil.which(name)
        if path is None:
            continue
        real = Path(path).resolve()
        shown = any(real.is_relative_to(folder) for folder in (*_VISIBLE, *_LINKS))
        return Interpreter(path, ()) if shown else Interpreter(str(real), (str(real.parent.parent),))
    names = " or ".join(language.programs)
    raise SandboxError(f"no {names} to run {language.name} with", fix="install it below /usr")


def dropped(tools: Tools, slot: int) -> list[str]:
    """What stands in front so that root is no longer root; nothing for anyone else.

    A limit on processes is not enforced for root, also inside a user namespace that root made.
    """
    if not tools.setpriv:
        return []
    identity = FIRST_ID + slot % IDS
    return [tools.setpriv, f"--reuid={identity}", f"--regid={identity}", "--clear-groups", "--no-new-privs", "--"]


def limited(tools: Tools, language: Language, limits: Limits) -> list[str]:
    """Limits of each process, soft and hard alike, so that they cannot be raised again."""
    settings = {
        "cpu": int(-(-limits.cpu_seconds // 1)),
        "fsize": limits.disk,
        "nofile": limits.files,
        "core": 0,
        "memlock": 0,
        "msgqueue": 0,
    }
    if language.address_space:
        settings["as"] = limits.memory
    if tools.bwrap:  # elsewhere it would count all that the user runs
        settings["nproc"] = limits.processes
    return [tools.prlimit, *(f"--{name}={value}:{value}" for name, value in settings.items()), "--"]


def confined(
    tools: Tools,
    limits: Limits,
    *,
    files: Mapping[str, int],
    mounts: Sequence[str],
    variables: Mapping[str, str],
    descriptors: tuple[int, int, int],
) -> list[str]:
    """Bubblewrap's part: nothing but what is named here can be seen, and only /tmp can be written.

    Args:
        files: name in the box -> descriptor its bytes are read from.
        mounts: folders shown read-only besides the usual ones.
        variables: the environment.
        descriptors: of the seccomp filter, of the status and of the starting signal.
    """
    seccomp, status, start = descriptors
    command = [tools.bwrap, "--unshare-all", "--unshare-user", "--disable-userns"]
    command += ["--uid", str(NOBODY), "--gid", str(NOBODY), "--hostname", "sandbox", "--cap-drop", "ALL"]
    # The program itself is process 1. Bubblewrap's own, which has no limits, would stand open to it: a process may
    # write into the memory of another one of the same user.
    command += ["--as-pid-1", "--die-with-parent", "--new-session", "--clearenv"]
    for path in (*_VISIBLE, *mounts):
        if os.path.exists(path):
            command += ["--ro-bind", path, path]
    for path in _LINKS:
        if os.path.islink(path):
            command += ["--symlink", os.readlink(path), path]
        elif os.path.isdir(path):
            command += ["--ro-bind", path, path]
    for path in _hidden((*_VISIBLE, *mounts)):
        command += ["--tmpfs", path, "--remount-ro", path]
    command += ["--proc", "/proc", "--dev", "/dev", "--remount-ro", "/dev"]
    for name, value in variables.items():
        command += ["--setenv", name, value]
    for name, descriptor in files.items():
        command += ["--ro-bind-data", str(descriptor), f"{BOX}/{name}"]
    command += [
        "--perms",
        "0700",
        "--size",
        str(limits.disk),
        "--tmpfs",
        "/tmp",
        "--remount-ro",
        "/",
        "--chdir",
        "/tmp",
    ]
    return [*command, "--seccomp", str(seccomp), "--json-status-fd", str(status), "--block-fd", str(start), "--"]


def _hidden(shown: Sequence[str]) -> Iterator[str]:
    """Home and the folder worked in, where they lie inside a folder that is shown."""
    for path in {str(Path.home()), os.getcwd()}:
        if any(path != folder and Path(path).is_relative_to(folder) for folder in shown):
            yield path


def environment(language: Language, home: str) -> dict[str, str]:
    """All a program sees of an environment."""
    return {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": home, "LANG": "C.UTF-8", **language.environment}
