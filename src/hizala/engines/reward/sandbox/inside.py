"""What stands beside a Python program in the sandbox. Standard library only, Python 3.8 or newer.

Four ways to start it: `run` executes a program as a script, `scripts` several times with other input; `serve` loads one
and calls its functions for whoever writes to standard input; `test` executes tests whose calls go out to a program in
another sandbox. Values travel as plain data, never as objects: whoever receives one compares it with its own `==`.
"""

from __future__ import annotations

import builtins
import os
import sys

# Every program pays for what is imported here, and `typing` and `json` cost more than starting Python does.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType, ModuleType
    from typing import Any

    Message = dict[str, Any]

DEPTH = 100  # how deep data may be nested
_BIG = 1 << 63  # integers from here on travel as hexadecimal: decimal digits are limited and slow
# What a test may ask of a program's object besides attributes and calls. Nothing here is handed what a test expects.
UNARY = {"len": len, "iter": iter, "next": next, "str": str, "repr": repr, "bool": bool}
# Only between two objects of the program: `program_object - expected` would tell the program what is expected.
BINARY = {
    "eq": lambda a, b: a == b,
    "lt": lambda a, b: a < b,
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
}


class Ended(BaseException):
    """The other side is gone, or asks to stop."""


def run(path: str, code: CodeType | None = None) -> None:
    """Run a program as `python3 path` would; `exit` and `quit` are there although `site` is not."""
    sys.argv = [path]
    module = _module("__main__", path)
    exec(code or compile(_read(path), path, "exec"), module.__dict__)


def _module(name: str, path: str) -> ModuleType:
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    module = type(sys)(name)
    module.__file__ = path
    sys.modules[name] = module
    return module


def _read(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


try:
    from _json import encode_basestring_ascii, make_encoder, make_scanner

    class _How:
        strict, memo, object_hook, object_pairs_hook = True, {}, None, None  # type: ignore[var-annotated]
        parse_int, parse_float, parse_constant = int, float, float

    _scan = make_scanner(_How)  # type: ignore[arg-type]
    _chunks = make_encoder({}, repr, encode_basestring_ascii, None, ":", ",", False, False, True)

    def dumps(message: Message) -> str:
        """A message as one line of JSON."""
        return "".join(_chunks(message, 0))

    def loads(line: str) -> Message:
        """A message from a line of JSON. Raises ValueError or StopIteration where it is none."""
        found: Message = _scan(line.strip(), 0)[0]
        return found

except (ImportError, TypeError, AttributeError):  # another Python than CPython, or one that has changed
    from json import dumps, loads  # type: ignore[assignment]


def encode(value: object, keep: Callable[[object], Any] | None = None, depth: int = 0) -> Any:
    """A value as JSON can carry it: plain data by content, subclasses as what they extend.

    Args:
        keep: what stands for an object that is no plain data; None: such objects are refused.
    Raises:
        TypeError: an object that is no plain data, and nothing to keep it.
        RecursionError: deeper than `DEPTH`.
    """
    if value is None or value is True or value is False:
        return value
    if depth > DEPTH:
        raise RecursionError("data nested too deep")

    def inner(part: object) -> Any:
        return encode(part, keep, depth + 1)

    if isinstance(value, int):
        number = int.__index__(value)
        return number if -_BIG < number < _BIG else {"t": "int", "v": hex(number)}
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, list):
        return [inner(part) for part in list.__iter__(value)]
    if isinstance(value, tuple):
        return {"t": "tuple", "v": [inner(part) for part in tuple.__iter__(value)]}
    if isinstance(value, dict):
        return {"t": "dict", "v": [[inner(k), inner(v)] for k, v in dict.items(value)]}
    if isinstance(value, (set, frozenset)):
        kind = set if isinstance(value, set) else frozenset
        return {"t": kind.__name__, "v": [inner(part) for part in kind.__iter__(value)]}  # type: ignore[arg-type]
    if isinstance(value, (bytes, bytearray)):
        return {"t": "bytes", "v": bytes(value).hex()}
    if isinstance(value, complex):
        return {"t": "complex", "v": [value.real, value.imag]}
    if keep is None:
        raise TypeError(f"{type(value).__name__} is no plain data")
    return keep(value)


def decode(data: Any, find: Callable[[Message], object] | None = None) -> Any:
    """What `encode` made; `find` gives the object that a reference stands for.

    Raises:
        ValueError: nothing `encode` makes.
    """
    if isinstance(data, list):
        return [decode(part, find) for part in data]
    if not isinstance(data, dict):
        return data
    kind, held = data.get("t"), data.get("v")
    if kind == "int" and isinstance(held, str):
        return int(held, 16)
    if kind == "bytes" and isinstance(held, str):
        return bytes.fromhex(held)
    if kind in ("tuple", "set", "frozenset") and isinstance(held, list):
        return {"tuple": tuple, "set": set, "frozenset": frozenset}[kind](decode(part, find) for part in held)
    if kind == "dict" and isinstance(held, list):
        return {decode(key, find): decode(part, find) for key, part in held}
    if kind == "complex" and isinstance(held, list):
        return complex(*held)
    if find is not None and kind in ("mine", "yours"):
        return find(data)
    raise ValueError("no plain data")


class Peer:
    """One end of a conversation about values: asks the other end, and serves it while it waits for an answer.

    Args:
        read, write: the channel.
        names: what the other end may ask for by name; None: it may only call what was handed to it.
    """

    def __init__(
        self, read: Callable[[], Message], write: Callable[[Message], None], names: dict[str, Any] | None = None
    ) -> None:
        self._read, self._write, self._names = read, write, names
        self._kept: list[object] = []

    def encode(self, value: object) -> Any:
        """A value for the other end."""
        return encode(value, self._keep)

    def _keep(self, value: object) -> Message:
        if isinstance(value, Remote):
            return {"t": "yours", "v": object.__getattribute__(value, "_number")}
        self._kept.append(value)
        return {"t": "mine", "v": [len(self._kept) - 1, type(value).__name__]}

    def _find(self, reference: Message) -> object:
        if reference["t"] == "yours":
            return self._kept[int(reference["v"])]
        return Remote(self, int(reference["v"][0]))

    def ask(self, message: Message) -> Any:
        """The other end's answer. Raises what it raised, as the nearest exception both ends know."""
        self._write(message)
        while True:
            found = self._read()
            if "op" in found:
                self.serve(found)
            elif "error" in found:
                names, text = found["error"]
                raise _known(names, text)
            else:
                return decode(found["value"], self._find)

    def serve(self, message: Message) -> None:
        """Do what the other end asks for and answer."""
        try:
            answer: Message = {"value": self.encode(self._do(message))}
        except Ended:
            raise
        except BaseException as error:
            answer = {"error": [[kind.__name__ for kind in type(error).__mro__], _text(error)]}
        self._write(answer)

    def _do(self, message: Message) -> Any:
        kind = message["op"]
        if kind == "call":
            target = decode(message["target"], self._find) if "target" in message else self._named(message["name"])
            arguments = [decode(part, self._find) for part in message["args"]]
            return target(*arguments, **{key: decode(part, self._find) for key, part in message["kwargs"].items()})
        if kind == "name":
            return self._named(message["name"])
        target = decode(message["target"], self._find)
        if self._names is None and not (kind in ("get", "set") and _belongs(target, message["name"])):
            raise PermissionError("the test hands over calls, and what its own classes show")
        if kind == "get":
            return getattr(target, message["name"])
        if kind == "set":
            return setattr(target, message["name"], decode(message["value"], self._find))
        if kind == "item":
            return target[decode(message["key"], self._find)]
        if kind == "isinstance":
            return isinstance(decode(message["value"], self._find), target)
        if kind in UNARY:
            return UNARY[kind](target)  # type: ignore[operator]
        return BINARY[kind](target, decode(message["value"], self._find))

    def _named(self, name: str) -> Any:
        """A name of the program: `f`, `Class.method` of a new instance, or a method of its class `Solution`."""
        names = self._names
        if names is None:
            raise PermissionError("the test has no names to offer")
        first, *rest = name.split(".")
        if first not in names and not rest and isinstance(names.get("Solution"), type):
            return getattr(names["Solution"](), first)
        if first not in names:
            raise NameError(f"name '{first}' is not defined")
        found = names[first]
        for part in rest:
            found = getattr(found() if isinstance(found, type) else found, part)
        return found


class Remote:
    """An object of the other end. Plain data never equal it; it compares with its own kind alone."""

    def __init__(self, peer: Peer, number: int) -> None:
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_number", number)

    def _ask(self, op: str, **more: Any) -> Any:
        peer = object.__getattribute__(self, "_peer")
        return peer.ask({"op": op, "target": peer.encode(self), **more})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Remote._ask(self, "get", name=name)

    def __setattr__(self, name: str, value: object) -> None:
        Remote._ask(self, "set", name=name, value=object.__getattribute__(self, "_peer").encode(value))

    def __call__(self, *args: object, **kwargs: object) -> Any:
        peer = object.__getattribute__(self, "_peer")
        given = {key: peer.encode(value) for key, value in kwargs.items()}
        return Remote._ask(self, "call", args=[peer.encode(value) for value in args], kwargs=given)

    def __getitem__(self, key: object) -> Any:
        return Remote._ask(self, "item", key=object.__getattribute__(self, "_peer").encode(key))

    def __instancecheck__(self, value: object) -> bool:
        if not isinstance(value, Remote):
            return False
        return Remote._ask(self, "isinstance", value=object.__getattribute__(self, "_peer").encode(value)) is True

    def __hash__(self) -> int:
        return id(self)


def _belongs(target: object, name: str) -> bool:
    """Whether a program may use this attribute of what a test handed over: a public one, of a class the test defines.

    Functions, generators and frames would lead on to everything the test holds.
    """
    return type(target).__module__ == "test" and not name.startswith("_")


def _unary(op: str, kind: type) -> Callable[[Remote], Any]:
    def ask(self: Remote) -> Any:
        found = Remote._ask(self, op)
        if kind is not object and type(found) is not kind:
            raise TypeError(f"the program's {op} gave no {kind.__name__}")
        return found

    return ask


def _binary(op: str) -> Callable[[Remote, object], Any]:
    def ask(self: Remote, other: object) -> Any:
        if not isinstance(other, Remote):
            return NotImplemented
        return Remote._ask(self, op, value=object.__getattribute__(self, "_peer").encode(other))

    return ask


for _op, _kind in (("len", int), ("iter", object), ("next", object), ("str", str), ("repr", str), ("bool", bool)):
    setattr(Remote, f"__{_op}__", _unary(_op, _kind))
for _op in BINARY:
    setattr(Remote, f"__{_op}__", _binary(_op))


def _known(names: Any, text: Any) -> Exception:
    """The nearest exception that Python itself defines."""
    for name in names if isinstance(names, list) else ():
        found = getattr(builtins, name, None) if isinstance(name, str) else None
        if isinstance(found, type) and issubclass(found, Exception):
            try:
                return found(text)
            except TypeError:  # it takes more than a text
                continue
    return RuntimeError(text)


def _text(error: BaseException) -> str:
    try:
        return f"{error}"[:500]
    except BaseException:
        return ""


class Channel:
    """The two streams, kept apart from what a program or a test prints."""

    def __init__(self) -> None:
        self._in, self._out = os.dup(0), os.dup(1)
        silent = os.open(os.devnull, os.O_RDWR)
        os.dup2(silent, 0)
        os.dup2(silent, 1)
        os.close(silent)
        self.fresh()

    def fresh(self) -> None:
        """Forget what was read ahead: another process has dealt with it."""
        self._lines = open(self._in, "rb", closefd=False)  # noqa: SIM115

    def read(self) -> Message:
        """The next message. Raises Ended when there is none."""
        line = self._lines.readline()
        if not line:
            raise Ended
        message: Message = loads(line.decode())
        if "stop" in message:
            raise Ended
        return message

    def write(self, message: Message) -> None:
        """Send a message."""
        data = memoryview((dumps(message) + "\n").encode())
        while data:
            data = data[os.write(self._out, data) :]


def serve(path: str) -> None:
    """Load a program once, then serve each conversation from a fresh copy of what was loaded."""
    channel = Channel()
    module = _module("solution", path)
    try:
        exec(compile(_read(path), path, "exec"), module.__dict__)
    except BaseException as error:
        channel.write({"failed": f"{type(error).__name__}: {_text(error)}"})
        return
    channel.write({"loaded": True})
    while True:
        try:
            channel.read()
        except Ended:
            return
        child = os.fork()
        if child:
            status = _end_of(child)
            channel.fresh()
            channel.write({"left": status})
            continue
        peer = Peer(channel.read, channel.write, module.__dict__)
        try:
            while True:
                peer.serve(channel.read())
        except Ended:
            os._exit(0)


def _end_of(child: int) -> int:
    """The exit status of a copy, once it and whatever it started or wrote are gone."""
    status = os.waitpid(child, 0)[1]
    if os.getpid() == 1:  # everything else in the sandbox came from the copy
        try:
            os.kill(-1, 9)
            while True:
                os.wait()
        except OSError:
            pass
        for folder, names, files in os.walk("/tmp", topdown=False):
            for name in files + names:
                path = os.path.join(folder, name)
                try:
                    os.rmdir(path) if name in names and not os.path.islink(path) else os.unlink(path)
                except OSError:
                    continue
    return os.WEXITSTATUS(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def scripts(path: str) -> None:
    """Compile a program once, then run it as a script for each input, each time from a fresh copy of Python."""
    channel = Channel()
    try:
        code = compile(_read(path), path, "exec")
    except BaseException as error:
        channel.write({"failed": f"{type(error).__name__}: {_text(error)}"})
        return
    channel.write({"loaded": True})
    while True:
        try:
            message = channel.read()
        except Ended:
            return
        streams = [_nameless(), _nameless(), _nameless()]
        os.write(streams[0], message["stdin"].encode("utf-8", "surrogatepass"))
        os.lseek(streams[0], 0, os.SEEK_SET)
        child = os.fork()
        if not child:
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
            os.closerange(3, 64)
            run(path, code)
            return
        status = _end_of(child)
        channel.fresh()
        size, most = os.fstat(streams[1]).st_size, message["most"]
        written = os.pread(streams[1], min(size, most), 0).decode("utf-8", "replace")
        said = os.pread(streams[2], 300, max(0, os.fstat(streams[2]).st_size - 300)).decode("utf-8", "replace")
        channel.write({"status": status, "out": written, "over": size > most, "err": said})
        for stream in streams:
            os.close(stream)


def _nameless() -> int:
    """A file that nobody else can find."""
    name = f".{os.urandom(16).hex()}"
    descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    os.unlink(name)
    return descriptor


def test(_: str) -> None:
    """Execute tests one after the other; the names they use and do not define belong to the program."""
    channel = Channel()

    def forward(message: Message) -> None:
        channel.write({"to": message})

    while True:
        item = channel.read()
        peer = Peer(channel.read, forward)
        try:
            names: dict[str, Any] = {"__name__": "test"}
            for name in free_names(item["code"], item.get("entry")):
                try:
                    names[name] = peer.ask({"op": "name", "name": name})
                except NameError:
                    continue
            exec(compile(item["code"], "test", "exec"), names)
            if item.get("entry"):
                names["check"](names[item["entry"]])
            channel.write({"passed": True})
        except Ended:
            channel.write({"passed": False, "why": "stopped"})
        except BaseException as error:
            channel.write({"passed": False, "why": f"{type(error).__name__}: {_text(error)}"[:300]})


def free_names(code: str, entry: str | None) -> list[str]:
    """Global names that a test reads without binding them, and which Python does not define; with `entry`, that too."""
    import symtable

    top = symtable.symtable(code, "test", "exec")
    read: set[str] = set()
    tables = [top]
    while tables:
        table = tables.pop()
        tables += table.get_children()
        read |= {s.get_name() for s in table.get_symbols() if s.is_referenced() and (table is top or s.is_global())}
    bound = {s.get_name() for s in top.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()}
    return sorted((read - bound - set(dir(builtins))) | ({entry} if entry else set()))


if __name__ == "__main__":
    {"run": run, "scripts": scripts, "serve": serve, "test": test}[sys.argv[1]](sys.argv[2])
