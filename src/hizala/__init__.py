"""Hizala: LLM alignment engineering, from a base model to an aligned, evaluated and served one.

    import hizala
    result = hizala.run("recipes/quickstart.yaml")
    print(result.report, result.models["dpo"])

Importing this module is light: nothing heavy is loaded until something is run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "load_recipe", "recipe", "run"]

if TYPE_CHECKING:
    from hizala.api import load_recipe, recipe, run


def __getattr__(name: str) -> Any:
    if name in __all__:
        from hizala import api

        return getattr(api, name)
    raise AttributeError(f"module 'hizala' has no attribute '{name}'")
