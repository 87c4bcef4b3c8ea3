"""Exact and near duplicates with bounded memory: 24 bytes a group for the exact ones, a sample for the near ones."""

from __future__ import annotations

import random
import re
import zlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np

from hizala.records import Group

_WORDS = re.compile(r"\w+")
_SHINGLE = 3
_TEXT_LIMIT = 2000
_PERMUTATIONS = 64
_CANDIDATES = 20
_EXAMPLES = 10


def _hash(parts: Iterable[str]) -> int:
    joined = "\x00".join(parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(joined, digest_size=8).digest(), "little")


class ExactDuplicates:
    """Counts groups, and prompts, that occur more than once; 64-bit hashes, so a chance hit is below 1e-7 a million."""

    def __init__(self) -> None:
        self._groups, self._prompts, self._lines = array("Q"), array("Q"), array("Q")

    def add(self, group: Group, line: int) -> None:
        """Note one group."""
        prompt = [part for m in group.prompt for part in (m.role, m.content)]
        answers = sorted(part for r in group.responses for part in [r.text + f"\x01{r.rank}\x01{r.label}"])
        self._groups.append(_hash([*prompt, "", *answers]))
        self._prompts.append(_hash(prompt))
        self._lines.append(line)

    def groups(self) -> tuple[int, list[tuple[int, int]]]:
        """(groups that repeat an earlier one, first examples as (line, earlier line))."""
        return self._repeats(self._groups)

    def prompts(self) -> tuple[int, list[tuple[int, int]]]:
        """(groups whose prompt stood before, first examples as (line, earlier line))."""
        return self._repeats(self._prompts)

    def _repeats(self, hashes: array[int]) -> tuple[int, list[tuple[int, int]]]:
        if not hashes:
            return 0, []
        values, lines = np.frombuffer(hashes, dtype=np.uint64), np.frombuffer(self._lines, dtype=np.uint64)
        order = np.argsort(values, kind="stable")
        same = np.flatnonzero(values[order][1:] == values[order][:-1])
        examples = [(int(lines[order[i + 1]]), int(lines[order[i]])) for i in same[:_EXAMPLES]]
        return len(same), sorted(examples)


@dataclass(frozen=True, slots=True)
class NearDuplicates:
    """What was found among a sample.

    Attributes:
        sampled: groups looked at.
        count: of them, those near an earlier one (and not equal to it).
        threshold: Jaccard similarity of word triples from which two count as near.
        examples: (line, earlier line) of the first ones.
    """

    sampled: int
    count: int
    threshold: float
    examples: tuple[tuple[int, int], ...]


class NearSample:
    """A uniform sample of groups kept for the comparison (reservoir sampling, seeded)."""

    def __init__(self, size: int, seed: int = 0) -> None:
        self._size, self._seen, self._random = size, 0, random.Random(seed)
        self._kept: list[tuple[int, str]] = []

    def add(self, group: Group, line: int) -> None:
        """Offer one group."""
        self._seen += 1
        place = len(self._kept) if len(self._kept) < self._size else self._random.randrange(self._seen)
        if place >= self._size:
            return
        share = _TEXT_LIMIT // (1 + len(group.responses))
        texts = (group.prompt[-1].content[:share], *(r.text[:share] for r in group.responses))
        entry = line, "\n".join(texts)
        if place == len(self._kept):
            self._kept.append(entry)
        else:
            self._kept[place] = entry

    def compare(self, threshold: float = 0.8) -> NearDuplicates:
        """Find near duplicates by MinHash with an exact check of the candidates."""
        from datasketch import MinHash, MinHashLSH

        index: Any = MinHashLSH(threshold=threshold, num_perm=_PERMUTATIONS)
        sets: dict[int, Any] = {}
        texts: dict[int, str] = {}
        examples: list[tuple[int, int]] = []
        count = 0
        kept = sorted(self._kept)
        # The generator draws the permutations once; drawing them costs more than using them.
        sketches = MinHash.generator((_shingles(text) for _, text in kept), num_perm=_PERMUTATIONS, hashfunc=zlib.crc32)
        for (line, text), sketch in zip(kept, sketches, strict=True):
            shingles = _shingles(text)
            hashes = np.unique(np.fromiter((zlib.crc32(s) for s in shingles), dtype=np.uint32, count=len(shingles)))
            for other in sorted(index.query(sketch))[:_CANDIDATES]:
                if texts[other] != text and _jaccard(hashes, sets[other]) >= threshold:
                    count += 1
                    if len(examples) < _EXAMPLES:
                        examples.append((line, other))
                    break
            if line not in sets:
                sets[line], texts[line] = hashes, text
                index.insert(line, sketch)
        return NearDuplicates(len(self._kept), count, threshold, tuple(examples))


def _shingles(text: str) -> list[bytes]:
    words = _WORDS.findall(text.lower())
    if len(words) < _SHINGLE:
        return [" ".join(words).encode("utf-8", "surrogatepass")]
    return [
        " ".join(words[i : i + _SHINGLE]).encode("utf-8", "surrogatepass") for i in range(len(words) - _SHINGLE + 1)
    ]


def _jaccard(a: Any, b: Any) -> float:
    shared = len(np.intersect1d(a, b, assume_unique=True))
    return shared / (len(a) + len(b) - shared) if shared else 0.0
