"""What a data file holds and what is wrong with it: one pass, bounded memory, and no text of the data in the report."""

from __future__ import annotations

import math
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from hizala.core.detect import language
from hizala.engines.data.duplicates import Contradictions, ExactDuplicates, NearSample
from hizala.engines.data.groups import GroupSource, read, shape_of
from hizala.engines.data.measures import LengthBias, Lengths, label_balance, length_bias_of, lengths_of, side_of
from hizala.engines.data.usable import reason_of
from hizala.errors import DataError, TemplateError
from hizala.records import Estimate, Finding, Group

if TYPE_CHECKING:
    from hizala.engines.data.templates import ChatTemplate

Severity = Literal["info", "warning", "error"]
NEAR_SAMPLE = 4000
# Encoding is the slow part; a file larger than this is judged by its first groups, and the report says so.
TOKEN_SAMPLE = 20_000
_LISTED = 50
# A chosen side longer in more than this share of pairs teaches length.
_BIAS_SHARE = 0.6
_TRUNCATED_SHARE = 0.05
_ONE_SIDED = 0.9
_DROPS = {
    "broken-row": "they cannot be used",
    "prompt-differs": "chosen and rejected answer different prompts",
    "wrong-shape": "they do not hold what was asked for",
    "tied": "all their responses are tied",
    "too-short": "fewer than two responses rank nothing",
    "contradicting": "their labels contradict each other",
    "steps-differ": "their steps do not make up the response",
    "no-counterpart": "their prompt has no response with the other thumb",
}
_NOTED: dict[str, tuple[Severity, str]] = {
    "chosen-equals-rejected": ("error", "chosen and rejected are the same text"),
    "all-responses-equal": ("warning", "all responses are the same text"),
    "tied": ("warning", "all responses are tied, so nothing is preferred"),
    "contradicting": ("error", "scores, ranks or margin of the row contradict each other"),
    "unmarked": ("warning", "no step is marked"),
    "empty-response": ("warning", "a response is empty; it teaches to end at once"),
    "same-role-twice": ("info", "two turns of the same role follow each other; strict chat templates refuse them"),
}


@dataclass(frozen=True, slots=True)
class Truncation:
    """What a length limit does: `truncated` responses lose their end, `dropped` groups have no room for one."""

    max_length: int
    groups: int
    responses: int
    truncated: int
    dropped: int
    refused: int


@dataclass(frozen=True, slots=True)
class DataReport:
    """All that was found in a data reference. Holds no text of the data."""

    ref: str
    format: str
    shape: str
    digest: str
    counts: Mapping[str, int]
    broken: tuple[Finding, ...]
    lengths: Mapping[str, Lengths]
    length_bias: LengthBias | None
    duplicates: Mapping[str, Any]
    truncation: Truncation | None
    languages: Mapping[str, float]
    labels: Mapping[str, Any]
    findings: tuple[Finding, ...] = field(default=())

    @property
    def exit_code(self) -> int:
        """0 clean, 1 where a finding is an error."""
        return int(any(finding.severity == "error" for finding in self.findings))

    def to_json(self) -> dict[str, Any]:
        """As plain values, `exit_code` included."""
        plain = {name: getattr(self, name) for name in ("ref", "format", "shape", "digest")}
        plain |= {name: dict(getattr(self, name)) for name in ("counts", "duplicates", "languages", "labels")}
        plain["lengths"] = {name: asdict(value) for name, value in self.lengths.items()}
        plain["length_bias"] = _finite(asdict(self.length_bias)) if self.length_bias else None
        plain["truncation"] = asdict(self.truncation) if self.truncation else None
        for name in ("broken", "findings"):
            plain[name] = [finding_json(finding) for finding in getattr(self, name)]
        return {**plain, "exit_code": self.exit_code}


def finding_json(finding: Finding) -> dict[str, Any]:
    """A finding as plain values."""
    names = ("kind", "severity", "message", "where", "count")
    return {**{name: getattr(finding, name) for name in names}, "data": dict(finding.data)}


def check(
    ref: str | Path | GroupSource,
    *,
    format: str = "auto",
    shape: str | None = None,
    columns: Mapping[str, str] | None = None,
    side: str | None = None,
    limit: int | None = None,
    chat: ChatTemplate | None = None,
    max_length: int | None = None,
    near_sample: int = NEAR_SAMPLE,
) -> DataReport:
    """Look at a whole data reference.

    Args:
        ref: what `read` takes, or groups already read.
        chat: with it lengths are in tokens and truncation is measured; else lengths are in characters.
        max_length: tokens of prompt and one response.
        near_sample: groups compared for near duplicates; 0 leaves the comparison out.
    Raises:
        DataError: the reference cannot be read or recognised, or holds no usable row.
    """
    if isinstance(ref, GroupSource):
        source = ref
    else:
        given: dict[str, Any] = {"format": format, "shape": shape, "columns": columns, "side": side, "limit": limit}
        source = read(ref, max_broken=1.0, **given)
    if max_length is not None and chat is None:
        raise DataError("a length limit in tokens needs a model's tokenizer", where=str(ref), fix="give --model")
    if chat is not None:
        chat.prove()
    seen = _Seen(chat, max_length, near_sample)
    for index, group in enumerate(source, 1):
        line = group.id.partition("#")[0].rpartition(":")[2]
        seen.add(group, int(line) if line.isdecimal() else index)
    name = source.name if isinstance(ref, GroupSource) else str(ref)
    return seen.report(name, source)


class _Seen:
    """What one pass remembers: numbers, hashes and a sample."""

    def __init__(self, chat: ChatTemplate | None, max_length: int | None, near_sample: int) -> None:
        self.chat, self.max_length = chat, max_length
        self.exact, self.claims = ExactDuplicates(), Contradictions()
        self.near = NearSample(near_sample) if near_sample else None
        self.lengths: dict[str, array[int]] = {}
        self.differences: array[float] = array("d")
        self.count: Counter[str] = Counter()
        self.languages: Counter[str] = Counter()
        self.lines: dict[str, list[int]] = {}

    def note(self, kind: str, line: int) -> None:
        self.count[kind] += 1
        lines = self.lines.setdefault(kind, [])
        if len(lines) < _LISTED:
            lines.append(line)

    def add(self, group: Group, line: int) -> None:
        self.exact.add(group, line)
        self.claims.add(group, line)
        if (reason := reason_of(group, shape_of(group))) in _NOTED:
            self.note(reason, line)
        if self.near is not None:
            self.near.add(group, line)
        texts = [response.text for response in group.responses]
        seen = 600 // (1 + len(texts))
        start = "\n".join([group.prompt[-1].content[:seen], *(text[:seen] for text in texts)])
        self.languages[language.guess(start)] += 1
        if any(not text.strip() for text in texts):
            self.note("empty-response", line)
        roles = [m.role for m in group.prompt]
        roles += [m.role for m in group.responses[0].messages] if group.responses else []
        if any(a == b for a, b in pairwise(roles)):
            self.note("same-role-twice", line)
        if len(texts) > 1 and len(set(texts)) == 1:
            self.note("chosen-equals-rejected" if len(texts) == 2 else "all-responses-equal", line)
        self._labels(group)
        self._measure(group, texts)

    def _labels(self, group: Group) -> None:
        for response in group.responses:
            if response.label is not None:
                self.count["up" if response.label else "down"] += 1
            for step in response.steps:
                self.count[{True: "steps_right", False: "steps_wrong", None: "steps_unmarked"}[step.correct]] += 1
        ranks = [r.rank for r in group.responses if r.rank is not None]
        if len(ranks) > 2:
            self.count["rankings"] += 1
            self.count["ranked_responses"] += len(ranks)
            self.count["tied_rankings"] += len(set(ranks)) < len(ranks)

    def _measure(self, group: Group, texts: Sequence[str]) -> None:
        prompt, sizes = sum(len(m.content) for m in group.prompt), [len(text) for text in texts]
        if self.chat is not None:
            if self.count["encoded"] >= TOKEN_SAMPLE:
                return
            self.count["encoded"] += 1
            measured = self._tokens(group)
            if measured is None:
                return
            prompt, sizes = measured
        self._length("prompt", prompt)
        names = [side_of(group, i) for i in range(len(sizes))]
        for name, size in zip(names, sizes, strict=True):
            self._length(name, size)
        ranks = [r.rank for r in group.responses]
        if len(sizes) > 1 and None not in ranks and len(set(ranks)) > 1:
            places = [rank for rank in ranks if rank is not None]
            self.differences.append(sizes[places.index(min(places))] - sizes[places.index(max(places))])

    def _tokens(self, group: Group) -> tuple[int, list[int]] | None:
        """Token lengths of prompt and responses; counts what the limit and the template do."""
        if self.chat is None:
            return None
        try:
            parts = [self.chat.encode_group(part) for part in self.chat.parts(group)]
        except (DataError, TemplateError):
            self.count["refused"] += 1
            return None
        for part in parts:
            room = None if self.max_length is None else self.max_length - len(part.prompt)
            if room is not None and room < 1:
                self.count["prompt_too_long"] += 1
                continue
            self.count["encoded_responses"] += len(part.responses)
            if room is not None:
                self.count["truncated"] += sum(len(branch.ids) > room for branch in part.responses)
        return len(parts[0].prompt), [len(branch.ids) for branch in parts[-1].responses]

    def _length(self, name: str, size: int) -> None:
        self.lengths.setdefault(name, array("I")).append(size)

    def report(self, name: str, source: GroupSource) -> DataReport:
        """Everything together."""
        unit = "tokens" if self.chat is not None else "characters"
        bias, duplicates, truncation = length_bias_of(self.differences, unit), self._duplicates(), self._truncation()
        total = max(sum(self.languages.values()), 1)
        return DataReport(
            ref=name,
            format=source.format,
            shape=source.shape,
            digest=source.digest,
            counts=source.counts,
            broken=tuple(source.findings[:_LISTED]),
            lengths={
                side: lengths_of(values, unit) for side, values in sorted(self.lengths.items(), key=_prompt_first)
            },
            length_bias=bias,
            duplicates=duplicates,
            truncation=truncation,
            languages={name: n / total for name, n in self.languages.most_common()},
            labels=label_balance(self.count),
            findings=tuple(self._findings(source, bias, duplicates, truncation)),
        )

    def _truncation(self) -> Truncation | None:
        if self.max_length is None:
            return None
        keys = ("encoded", "encoded_responses", "truncated", "prompt_too_long", "refused")
        return Truncation(self.max_length, *(self.count[key] for key in keys))

    def _duplicates(self) -> dict[str, Any]:
        exact, examples = self.exact.groups()
        found: dict[str, Any] = {"exact": exact, "exact_examples": examples, "prompts_again": self.exact.prompts()[0]}
        if self.near is not None:
            near = self.near.compare()
            found |= {"near": near.count, "near_sampled": near.sampled, "near_threshold": near.threshold}
            found["near_examples"] = list(near.examples)
        return found

    def _findings(
        self, source: GroupSource, bias: LengthBias | None, duplicates: Mapping[str, Any], cut: Truncation | None
    ) -> Iterator[Finding]:
        counts, groups = source.counts, max(source.counts["groups"], 1)
        for key, n in counts.items():
            if key.startswith("dropped:"):
                kind = key.removeprefix("dropped:")
                severity: Severity = "error" if kind == "broken-row" else "warning"
                wheres = [finding.where for finding in source.findings if finding.kind == kind]
                yield Finding(kind, severity, f"{_rows(n)} dropped: {_DROPS.get(kind, kind)}", ", ".join(wheres[:5]), n)
        for kind, (severity, words) in _NOTED.items():
            if n := self.count[kind]:
                lines = self.lines[kind]
                where = ", ".join(f"{source.name}:{line}" for line in lines[:5])
                yield Finding(kind, severity, f"{_rows(n)}: {words}", where, n, {"lines": lines})
        if torn := self.claims.lines():
            where = ", ".join(f"{source.name}:{line}" for line in torn[:5])
            words = f"{_rows(len(torn))}: another row of the same prompt says the opposite; training leaves both out"
            yield Finding("contradicted", "warning", words, where, len(torn), {"lines": torn[:_LISTED]})
        if n := duplicates["exact"]:
            where = ", ".join(f"{source.name}:{a}={b}" for a, b in duplicates["exact_examples"][:5])
            yield Finding(
                "exact-duplicates", "warning", f"{_rows(n)} ({n / groups:.1%}) repeat an earlier one", where, n
            )
        if n := duplicates.get("near", 0):
            where = ", ".join(f"{source.name}:{a}~{b}" for a, b in duplicates["near_examples"][:5])
            words = f"{n} of {duplicates['near_sampled']} sampled groups are nearly an earlier one"
            yield Finding("near-duplicates", "info", words, where, n)
        if bias is not None and abs(bias.longer.value - 0.5) > _BIAS_SHARE - 0.5 and not _holds_half(bias.longer):
            side = "longer" if bias.longer.value > 0.5 else "shorter"
            share = max(bias.longer.value, 1 - bias.longer.value)
            words = f"the preferred side is the {side} one in {share:.0%} of the pairs: length will be learnt"
            yield Finding("length-bias", "warning", words, count=bias.longer.n)
        yield from self._label_findings()
        if cut is not None:
            yield from _cut_findings(cut)
        elif n := self.count["refused"]:
            yield Finding("refused", "warning", f"the chat template refuses {_rows(n)}", count=n)
        if self.chat is not None and counts["groups"] > TOKEN_SAMPLE:
            yield Finding(
                "sampled", "info", f"token lengths are of the first {TOKEN_SAMPLE} groups", count=TOKEN_SAMPLE
            )

    def _label_findings(self) -> Iterator[Finding]:
        balance = label_balance(self.count)
        if "thumbs" in balance and balance["thumbs"]["share_up"] in (0, 1):
            words = f"all thumbs point one way: {self.count['up']} up, {self.count['down']} down; methods need both"
            yield Finding("label-balance", "error", words)
            return
        for name, key in (("thumbs", "share_up"), ("steps", "share_right")):
            if name in balance and not 1 - _ONE_SIDED <= balance[name][key] <= _ONE_SIDED:
                words = f"{balance[name][key]:.0%} of the {name} are {'up' if name == 'thumbs' else 'right'}: one-sided"
                yield Finding("label-balance", "warning", words)


def _cut_findings(cut: Truncation) -> Iterator[Finding]:
    limit = f"the limit of {cut.max_length} tokens"
    if cut.dropped:
        words = f"{_rows(cut.dropped)} dropped: the prompt alone reaches {limit}"
        yield Finding("prompt-too-long", "warning", words, count=cut.dropped)
    if cut.truncated:
        share = cut.truncated / max(cut.responses, 1)
        severity: Severity = "warning" if share > _TRUNCATED_SHARE else "info"
        words = f"{cut.truncated} responses ({share:.1%}) lose their end at {limit}"
        yield Finding("truncated", severity, words, count=cut.truncated)
    if cut.refused:
        words = f"the chat template refuses {_rows(cut.refused)}"
        yield Finding("refused", "warning", words, count=cut.refused)


def _holds_half(share: Estimate) -> bool:
    return share.low <= 0.5 <= share.high


def _finite(value: Any) -> Any:
    """With None where a bound is infinite (one pair has no interval), which JSON cannot say."""
    if isinstance(value, dict):
        return {key: _finite(entry) for key, entry in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _prompt_first(item: tuple[str, object]) -> tuple[bool, str]:
    return item[0] != "prompt", item[0]


def _rows(n: int) -> str:
    return f"{n} row{'s' if n != 1 else ''}"
