"""One error vocabulary. Every error a user can cause is a `HizalaError`: one message, no traceback."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class HizalaError(Exception):
    """Base of all errors a user can cause or meet.

    Args:
        message: what is wrong, in one sentence.
        where: file, line and field (`recipe.yaml:7, stages.dpo.beta`), or "" when there is none.
        fix: what to do about it, in one sentence.
    """

    exit_code = 2

    def __init__(self, message: str, *, where: str = "", fix: str = "") -> None:
        self.message, self.where, self.fix = message, where, fix
        super().__init__(str(self))

    def __str__(self) -> str:
        head = f"{self.where}: {self.message}" if self.where else self.message
        return f"{head}\n  fix: {self.fix}" if self.fix else head


class ConfigError(HizalaError):
    """A recipe, an override or a setting is wrong."""


class DataError(HizalaError):
    """Data cannot be read, recognised or used as asked."""


class TemplateError(HizalaError):
    """A chat template cannot be proven to give a correct training mask."""


class ModelError(HizalaError):
    """A model directory is missing, damaged or of an unsupported kind."""


class TrainError(HizalaError):
    """Training cannot go on."""

    exit_code = 3


class CheckpointError(HizalaError):
    """A checkpoint is missing, damaged or belongs to another run."""


class RunError(HizalaError):
    """A run directory is foreign, locked, damaged or not where it should be."""


class LedgerError(HizalaError):
    """The evidence ledger is broken or was changed."""

    exit_code = 4


class RegistryError(HizalaError):
    """A name is registered twice or a registration is incomplete."""


class RewardError(HizalaError):
    """Rewards cannot be computed as asked."""

    exit_code = 3


class EvalError(HizalaError):
    """An evaluation cannot be done as asked."""


class SandboxError(HizalaError):
    """Code cannot be run as safely as asked."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`, did you mean 'x'?` for the nearest known name, or "" when none is near."""
    match = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean '{match[0]}'?" if match else ""
