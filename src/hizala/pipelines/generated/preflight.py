"""What can be known to be wrong with a stage before anything is written."""

from __future__ import annotations

from pathlib import Path

from hizala.pipelines.generated.settings import GeneratedSettings, SpinSettings
from hizala.pipelines.material import load_template, open_source


def check(settings: GeneratedSettings, base: Path) -> None:
    """Look at a stage's template and at the first rows of its data and of its gates' data.

    Raises:
        HizalaError: the first thing that is wrong.
    """
    load_template(base, settings.template)
    shape = "response" if isinstance(settings, SpinSettings) else "prompt"
    open_source(settings.data, shape=shape, format=settings.format, limit=settings.limit)
    for kind, ref in getattr(settings, "gates", ()):
        open_source(ref, shape="prompt" if kind == "gold" else "pair")
