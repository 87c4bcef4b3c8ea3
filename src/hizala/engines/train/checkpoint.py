"""Checkpoints that are there whole or not at all.

A checkpoint is a directory `step-00000012` (or `best-…`) of safetensors and JSON files with a manifest of their
digests. It is written under a temporary name beside its place, made safe on disk and renamed; only then do older
ones go. The newest is found by looking, never by a pointer that could be wrong.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hizala.engines.train.tensorfile import Entry, digest_file, write_file, write_tensors
from hizala.errors import CheckpointError

FORMAT = 1
MANIFEST = "manifest.json"
_NAME = re.compile(r"(step|best)-(\d{8,})(?:-(\d+))?")
_TEMPORARY = ".tmp-"


@dataclass(frozen=True, slots=True)
class Found:
    """A checkpoint's directory by its name; `kind` is "step" or "best"."""

    path: Path
    kind: str
    step: int
    attempt: int


def find(root: Path, kind: str | None = None) -> list[Found]:
    """Checkpoints of a directory, newest first; where both kinds stand at a step, "step" first."""
    found = []
    for path in root.iterdir() if root.is_dir() else ():
        match = _NAME.fullmatch(path.name)
        if match and path.is_dir() and kind in (None, match[1]):
            found.append(Found(path, match[1], int(match[2]), int(match[3] or 1)))
    return sorted(found, key=lambda f: (f.step, f.kind == "step", f.attempt), reverse=True)


def clean(root: Path) -> None:
    """Remove what an interrupted write or removal left behind."""
    for path in root.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(path, ignore_errors=True)


def write(
    root: Path,
    kind: str,
    step: int,
    *,
    tensors: Mapping[str, Sequence[Entry]],
    documents: Mapping[str, Any],
    identity: str,
) -> Path:
    """Write a checkpoint.

    Args:
        root: directory of the checkpoints.
        kind: "step" or "best".
        step: steps taken.
        tensors: file name -> tensors.
        documents: file name -> JSON content.
        identity: digest of the run it belongs to.
    Returns:
        Where it stands.
    Raises:
        CheckpointError: it cannot be written (a full disk); what was there before is untouched.
    """
    target = _free_name(root, kind, step)
    temporary = root / f"{_TEMPORARY}{target.name}-{os.getpid()}"
    try:
        root.mkdir(parents=True, exist_ok=True)
        clean(root)
        temporary.mkdir()
        files = {name: write_tensors(temporary / name, entries) for name, entries in tensors.items()}
        for name, content in documents.items():
            files[name] = _write_json(temporary / name, content)
        manifest = {"format": FORMAT, "step": step, "identity": identity, "files": files}
        _write_json(temporary / MANIFEST, manifest | {"digest": _digest(manifest)})
        sync(temporary)
        temporary.rename(target)
        sync(root)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise CheckpointError(
            f"the checkpoint of step {step} cannot be written: {error.strerror or error}",
            where=str(target),
            fix="free some space or check the directory's rights, then run again: older checkpoints are untouched",
        ) from error
    return target


def prune(root: Path, kind: str, keep: int) -> None:
    """Remove all but the newest `keep` checkpoints of a kind."""
    for old in find(root, kind)[keep:]:
        doomed = root / f"{_TEMPORARY}{old.path.name}-gone-{os.getpid()}"
        old.path.rename(doomed)  # a half-removed checkpoint must not carry a checkpoint's name
        shutil.rmtree(doomed, ignore_errors=True)


def verify(path: Path) -> dict[str, Any]:
    """Check that a checkpoint is undamaged; its manifest.

    Raises:
        CheckpointError: naming the first file that is missing, damaged or of another format.
    """
    manifest = read_json(path / MANIFEST)
    body = {key: value for key, value in manifest.items() if key != "digest"}
    if manifest.get("digest") != _digest(body):
        raise _damaged(path / MANIFEST, "its content does not match its digest")
    if manifest["format"] != FORMAT:
        raise CheckpointError(
            f"format {manifest['format']} of the checkpoint is not format {FORMAT}",
            where=str(path),
            fix="continue with the version of Hizala that wrote it",
        )
    for name, entry in manifest["files"].items():
        file = path / name
        if not file.is_file():
            raise _damaged(file, "it is missing")
        try:
            if file.stat().st_size != entry["size"] or digest_file(file) != entry["sha256"]:
                raise _damaged(file, "its content does not match the manifest")
        except OSError as error:
            raise _damaged(file, str(error.strerror)) from error
    return manifest


def choose(
    root: Path,
    kind: str | None,
    identity: str,
    notice: Callable[[CheckpointError], None],
    *,
    at: int | None = None,
) -> Path | None:
    """The newest undamaged checkpoint of this run; None where there is none at all.

    Args:
        root: directory of the checkpoints.
        kind: "step", "best" or None for either.
        identity: of this run.
        notice: called with what is wrong with each newer one that had to be passed over.
        at: look at the one written after so many steps alone.
    Raises:
        CheckpointError: all are damaged, or the newest undamaged one belongs to another run.
    """
    first: CheckpointError | None = None
    for found in find(root, kind):
        if at is not None and found.step != at:
            continue
        try:
            manifest = verify(found.path)
        except CheckpointError as error:
            first = first or error
            notice(error)
            continue
        if manifest["identity"] != identity:
            raise CheckpointError(
                "the checkpoint belongs to another run (its model, data or settings differ)",
                where=str(found.path),
                fix="use another run directory, or remove these checkpoints to start again",
            )
        return found.path
    if first is not None:
        raise first
    return None


def read_json(path: Path) -> dict[str, Any]:
    """A JSON document of a checkpoint."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise _damaged(path, str(error.strerror)) from error
    except ValueError as error:
        raise _damaged(path, "it is not JSON") from error
    if not isinstance(content, dict):
        raise _damaged(path, "it is not a JSON object")
    return content


def sync(directory: Path) -> None:
    """Make the names in a directory safe on disk."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _damaged(path: Path, reason: str) -> CheckpointError:
    return CheckpointError(
        f"the checkpoint is damaged: {reason}",
        where=str(path),
        fix="restore the file, or remove the checkpoint's directory to continue from an older one",
    )


def _free_name(root: Path, kind: str, step: int) -> Path:
    name, attempt = f"{kind}-{step:08d}", 1
    while (root / (name if attempt == 1 else f"{name}-{attempt}")).exists():
        attempt += 1
    return root / (name if attempt == 1 else f"{name}-{attempt}")


def _write_json(path: Path, content: Any) -> dict[str, str | int]:
    data = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()
    return write_file(path, [lambda: data])


def _digest(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
