"""What stands beside a Python program in the sandbox. Standard library only; Python 3.8 or newer."""

from __future__ import annotations

import sys
from types import ModuleType


def run(path: str) -> None:
    """Run a program as `python3 path` would; `exit` and `quit` are there although `site` is not."""
    import builtins

    sys.argv = [path]
    builtins.exit = builtins.quit = sys.exit  # type: ignore[assignment]
    module = ModuleType("__main__")
    module.__file__ = path
    sys.modules["__main__"] = module
    with open(path, "rb") as file:
        source = file.read()
    exec(compile(source, path, "exec"), module.__dict__)


if __name__ == "__main__":
    run(sys.argv[2])
