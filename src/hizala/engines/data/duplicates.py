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
_BANDS, _ROWS = 16, 4
# A prime below 2^32: with hashes below 2^31 the products stay within 64 bits.
_PRIME = 2**31 - 1
# Texts kept in one bucket: a template repeated a thousand times needs no thousand comparisons.
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


class Contradictions:
    """Counts claims (this side of a pair over that one, a thumb up or down) that another group turns round."""

    def __init__(self) -> None:
        self._claims, self._counters, self._lines = array("Q"), array("Q"), array("Q")

    def add(self, group: Group, line: int) -> None:
        """Note what a group claims."""
        prompt = [part for m in group.prompt for part in (m.role, m.content)]
        ranks, texts = [r.rank for r in group.responses], [r.text for r in group.responses]
        if ranks == [0, 1] and texts[0] != texts[1]:
            self._note([*prompt, "", texts[0], texts[1]], [*prompt, "", texts[1], texts[0]], line)
        for response in group.responses:
            if response.label is not None:
                up, down = ([*prompt, "", response.text, str(label)] for label in (response.label, not response.label))
                self._note(up, down, line)

    def _note(self, claim: list[str], counter: list[str], line: int) -> None:
        self._claims.append(_hash(claim))
        self._counters.append(_hash(counter))
        self._lines.append(line)

    def lines(self) -> list[int]:
        """Lines of the groups that another one contradicts."""
        if not self._claims:
            return []
        found = np.isin(np.frombuffer(self._counters, dtype=np.uint64), np.frombuffer(self._claims, dtype=np.uint64))
        return sorted(set(np.frombuffer(self._lines, dtype=np.uint64)[found].tolist()))


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
        """Find near duplicates: candidates by MinHash bands, each checked by its exact Jaccard similarity.

        A pair at the threshold is a candidate with probability 1 - (1 - 0.8^4)^16 > 0.999.

        Source: Broder 1997, "On the resemblance and containment of documents", sec. 3 (MinHash); Leskovec,
            Rajaraman and Ullman, "Mining of Massive Datasets", sec. 3.4 (bands).
        """
        rng = np.random.default_rng(0)
        multiply = rng.integers(1, _PRIME, (_BANDS * _ROWS, 1), dtype=np.uint64)
        add = rng.integers(0, _PRIME, (_BANDS * _ROWS, 1), dtype=np.uint64)
        buckets: dict[bytes, list[int]] = {}
        kept = sorted(self._kept)
        sets: list[Any] = []
        examples: list[tuple[int, int]] = []
        count = 0
        for i, (line, text) in enumerate(kept):
            hashes = _shingles(text)
            sets.append(hashes)
            signature = ((hashes[None, :] * multiply + add) % _PRIME).min(axis=1).reshape(_BANDS, _ROWS)
            keys = [bytes([band]) + row.tobytes() for band, row in enumerate(signature)]
            candidates = dict.fromkeys(j for key in keys for j in buckets.get(key, ()))
            near = (j for j in candidates if kept[j][1] != text and _jaccard(hashes, sets[j]) >= threshold)
            if (other := next(near, None)) is not None:
                count += 1
                if len(examples) < _EXAMPLES:
                    examples.append((line, kept[other][0]))
            for key in keys:
                bucket = buckets.setdefault(key, [])
                if len(bucket) < _CANDIDATES:
                    bucket.append(i)
        return NearDuplicates(len(kept), count, threshold, tuple(examples))


def _shingles(text: str) -> Any:
    """Hashes of a text's word triples, below 2^31, each once."""
    words = _WORDS.findall(text.lower())
    triples = [" ".join(words[i : i + _SHINGLE]) for i in range(max(len(words) - _SHINGLE + 1, 1))]
    codes = {zlib.crc32(triple.encode("utf-8", "surrogatepass")) for triple in triples}
    return np.fromiter(codes, dtype=np.uint64, count=len(codes)) & np.uint64(0x7FFFFFFF)


def _jaccard(a: Any, b: Any) -> float:
    shared = len(np.intersect1d(a, b))
    return shared / (len(a) + len(b) - shared) if shared else 0.0
