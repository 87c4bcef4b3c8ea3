"""Chat templates: groups to tokens with a training mask that is proven, not trusted.

What is trained is decided by rendering, not by markers inside the template: a response is what the full rendering
adds to the rendering that generation starts from, up to and including the end token. Text of messages is data:
a special token typed into it is cut in two before rendering, so it is encoded as ordinary text and can neither
open nor end a turn.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tokenizers import AddedToken, Encoding, Tokenizer

from hizala.engines.data import jinja, known
from hizala.errors import DataError, ModelError, TemplateError
from hizala.records import Finding, Group, Message, Response, TokenBranch, TokenGroup

if TYPE_CHECKING:
    from hizala.engines.data.proof import Proof

# A noncharacter: marks where a special token in a message's text was cut; gone before anything is encoded.
CUT = "\ufdd0"
_OPENING = 40


class PromptTooLong(DataError):
    """The prompt leaves no room for a response within the length limit."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a branch: its text, whether it is trained, and the end token that closes it."""

    text: str
    trained: bool
    end: int | None = None


@dataclass(slots=True)
class Encoded:
    """Groups in tokens and what happened to them.

    Attributes:
        tokens: what can be trained on, in order.
        sources: for each, the index of the group it came from.
        findings: dropped groups with their reasons (the first hundred).
        counts: `groups`, `encoded`, `dropped`, `dropped:<kind>`, `responses`, `truncated`, `split`, `steps` (marked),
            `steps-truncated` (marked steps whose end was cut).
    """

    tokens: list[TokenGroup] = field(default_factory=list)
    sources: list[int] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def count(self, name: str, by: int = 1) -> None:
        """Add to a count."""
        self.counts[name] = self.counts.get(name, 0) + by


class ChatTemplate:
    """A tokenizer with its chat template. Implements `protocols.Tokenizer`; make it with `load`."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        renderer: jinja.Renderer | None,
        ends: Sequence[int],
        *,
        where: str,
        digest: str,
        notes: Sequence[str] = (),
    ) -> None:
        self.notes = tuple(notes)
        self.tokenizer, self.renderer, self.where, self.digest = tokenizer, renderer, where, digest
        self._ends = tuple(ends)
        added = tokenizer.get_added_tokens_decoder()
        control = {i: token for i, token in added.items() if token.special and token.content}
        self.control_ids = frozenset(control)
        texts = sorted({token.content for token in control.values()}, key=len, reverse=True)
        self.control_texts = tuple(texts)
        self._control = re.compile("|".join(map(re.escape, texts))) if texts else None
        self._tiny = tuple(text for text in texts if len(text) < 2)
        self.end_texts = {str(added[i].content if i in added else tokenizer.id_to_token(i)): i for i in self._ends}
        self._anchor = next((i for i in (*self._ends, *control) if i in control and _is_anchor(tokenizer, i)), None)
        self._anchor_text = control[self._anchor].content if self._anchor is not None else ""
        # What the tokenizer itself puts before a text without a template (usually a BOS token).
        self.raw_start = tuple(tokenizer.encode("", add_special_tokens=True).ids) if renderer is None else ()
        self.raw_start = tuple(i for i in self.raw_start if i not in self._ends)
        self._proof: Proof | None = None

    @classmethod
    def load(cls, model_dir: str | Path, *, template: str = "auto", end: Sequence[str] = ()) -> ChatTemplate:
        """Read tokenizer and template of a model directory, without transformers.

        Args:
            model_dir: holds tokenizer.json, and where there are: tokenizer_config.json, chat_template.jinja,
                special_tokens_map.json, generation_config.json, config.json.
            template: "auto" takes the model's own; "raw" uses none: contents stand one after another and the end
                token follows each response. Anything else is the path of a Jinja file.
            end: further end tokens, as text, where the model's files do not name the template's.
        Raises:
            ModelError: no tokenizer.json, a damaged file, an end token that does not exist.
            TemplateError: no chat template, or not valid Jinja.
        """
        model = Path(model_dir)
        path = model / "tokenizer.json"
        if not path.is_file():
            raise ModelError(
                "there is no tokenizer.json", where=str(model), fix="save it with a fast tokenizer: save_pretrained()"
            )
        raw = path.read_bytes()
        try:
            tokenizer = Tokenizer.from_buffer(raw)
        except Exception as error:  # the library raises bare Exception
            raise ModelError(f"cannot be read: {error}", where=str(path), fix="fetch the model again") from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        config = jinja.read_json(model / "tokenizer_config.json")
        _add_missing_tokens(tokenizer, config, str(model / "tokenizer_config.json"))
        names = jinja.special_tokens(model, config)
        ends, notes = _end_ids(model, tokenizer, names, end)
        renderer = None
        if template != "raw":
            found = jinja.find_template(model, config) if template == "auto" else _template_file(Path(template))
            if found is None:
                raise TemplateError(
                    "the model has no chat template", where=str(model), fix="name a Jinja file, or template: raw"
                )
            renderer = jinja.Renderer(found[0], names, found[1])
        told = {"template": renderer.source if renderer else "raw", "names": names, "ends": ends}
        digest = hashlib.sha256(raw + json.dumps(told, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
        where = renderer.where if renderer else str(model)
        return cls(tokenizer, renderer, ends, where=where, digest=digest, notes=notes)

    def end_ids(self) -> tuple[int, ...]:
        """Ids at which generation stops."""
        return self._ends

    @property
    def vocab_size(self) -> int:
        """Entries of the vocabulary, added tokens included."""
        return int(self.tokenizer.get_vocab_size(with_added_tokens=True))

    def prove(self) -> Proof:
        """Check law 7 on synthetic conversations (once; the answer is kept). Raises TemplateError naming the rule."""
        if self._proof is None:
            from hizala.engines.data.proof import prove

            self._proof = prove(self)
        return self._proof

    def render(self, messages: Sequence[Message], *, opened: bool) -> str:
        """The guarded text of a conversation: special tokens in message texts are cut by `CUT`."""
        guarded = [Message(m.role, self.guard(m.content)) for m in messages]
        if self.renderer is None:
            return "".join(m.content for m in guarded)
        text = self.renderer(guarded, opened=opened)
        for m in guarded:
            if m.role in ("system", "user") and m.content.strip() not in text:
                raise TemplateError(
                    f"rule 'content': the template drops or changes the {m.role} turn {m.content.strip()[:60]!r}",
                    where=self.where,
                )
        return text

    def guard(self, content: str) -> str:
        """Cut special tokens that stand in a message's text, so that they cannot become control tokens."""
        if CUT in content:
            raise DataError("the text holds the noncharacter U+FDD0", fix="remove it from the data")
        if self._control is None or not self._control.search(content):
            return content
        if any(text in content for text in self._tiny):
            raise DataError("the text holds a special token of one character, which cannot stay text")
        while self._control.search(content):
            content = self._control.sub(lambda m: m[0][0] + CUT + m[0][1:], content)
        return content

    def encode_text(self, text: str, *, start: bool = False) -> list[int]:
        """Ids of guarded text; what a tokenizer puts before a text's first word is kept out unless at the `start`."""
        return [token for encoding, skip, _ in self._pieces(text, start) for token in encoding.ids[skip:]]

    def token_spans(self, text: str) -> list[tuple[int, int]]:
        """(start, end) in characters of the guarded text, of each token of `encode_text`."""
        pieces = self._pieces(text, False)
        return [(a + shift, b + shift) for encoding, skip, shift in pieces for a, b in encoding.offsets[skip:]]

    def _pieces(self, text: str, start: bool) -> Iterator[tuple[Encoding, int, int]]:
        """(encoding, tokens of it that are not the text's, what to add to its offsets) of each piece between cuts."""
        at = 0
        for i, piece in enumerate(text.split(CUT)):
            if piece and start and not i:
                yield self.tokenizer.encode(piece, add_special_tokens=False), 0, at
            elif piece:
                whole = self.tokenizer.encode(self._anchor_text + piece, add_special_tokens=False)
                yield whole, int(self._anchor is not None), at - len(self._anchor_text)
            at += len(piece) + 1

    def encode_prompt(self, group: Group) -> list[int]:
        """Token ids of the prompt as generation sees it."""
        return self._prompt_ids(self.render(group.prompt, opened=True), group.id)

    def _prompt_ids(self, text: str, where: str) -> list[int]:
        ids = [*self.raw_start, *self.encode_text(text, start=True)]
        if not ids:
            raise DataError("the prompt has no tokens", where=where)
        return ids

    def encode_group(self, group: Group, *, max_length: int | None = None) -> TokenGroup:
        """The group in tokens with the training mask.

        Args:
            group: assistant turns of its responses are trained, each with its end token; nothing else is.
            max_length: tokens of prompt and one response. A longer response is cut on the right, flagged
                `truncated`, and keeps no end token; a prompt is never cut.
        What is known of a response goes with its tokens. A step is marked at the token that holds its last character
        that is not white space, also where the next step begins in that token; steps that were cut have no mark.

        Raises:
            PromptTooLong: the prompt leaves no room for a single token of a response.
            DataError: the steps of a response are not its text, or a pair's margin contradicts its order.
            TemplateError: the template treats this very conversation against a rule.
        """
        text = self.render(group.prompt, opened=True)
        prompt = self._prompt_ids(text, group.id)
        if max_length is not None and len(prompt) >= max_length:
            raise PromptTooLong(f"the prompt has {len(prompt)} tokens, the limit is {max_length}", where=group.id)
        room = None if max_length is None else max_length - len(prompt)
        branches = []
        for response in group.responses:
            spans = self.spans(group.prompt, response.messages, text)
            ids: list[int] = []
            mask: list[bool] = []
            for span in spans:
                part = self.encode_text(span.text) + ([span.end] if span.end is not None else [])
                ids += part
                mask += [span.trained] * len(part)
            marks = self._marks(response, spans[0].text, text) if response.steps else []
            truncated = response.truncated
            if truncated and ids and ids[-1] in self._ends:
                # A response cut while it was sampled never ended: its end must not be learnt.
                ids, mask = ids[:-1], mask[:-1]
            if room is not None and len(ids) > room:
                ids, mask, truncated = ids[:room], mask[:room], True
            branches.append(
                TokenBranch(
                    tuple(ids),
                    tuple(mask),
                    truncated,
                    rank=response.rank,
                    label=response.label,
                    score=response.score,
                    marks=tuple(mark for mark in marks if mark[0] < len(ids)),
                    attributes=response.attributes,
                )
            )
        return TokenGroup(tuple(prompt), tuple(branches), id=group.id, margin=known.margin_of(group))

    def _marks(self, response: Response, body: str, opened: str) -> list[tuple[int, bool]]:
        return known.locate(response, body, opened[-_OPENING:], self.token_spans(body), CUT)

    def encode_all(self, groups: Iterable[Group], *, max_length: int | None = None) -> Encoded:
        """Groups in tokens; what cannot be encoded is dropped, counted and named.

        A conversation with several assistant turns is encoded turn by turn where the template changes earlier
        turns (one group a turn, id `#1`, `#2`, ...).
        """
        out = Encoded()
        for index, group in enumerate(groups):
            out.count("groups")
            try:
                parts = self.parts(group)
            except DataError as error:
                parts = []
                _drop(out, error, group.id)
            out.count("split", int(len(parts) > 1))
            for part in parts:
                try:
                    tokens = self.encode_group(part, max_length=max_length)
                except (DataError, TemplateError) as error:
                    _drop(out, error, part.id)
                    continue
                out.tokens.append(tokens)
                out.sources.append(index)
                out.count("encoded")
                out.count("responses", len(tokens.responses))
                out.count("truncated", sum(branch.truncated for branch in tokens.responses))
                marked = sum(step.correct is not None for response in part.responses for step in response.steps)
                out.count("steps", marked)
                out.count("steps-truncated", marked - sum(len(branch.marks) for branch in tokens.responses))
        return out

    def parts(self, group: Group) -> list[Group]:
        """The group as it can be encoded: itself, or turn by turn where the template changes earlier turns.

        Raises:
            DataError: several responses of several turns under such a template.
        """
        return [group] if not is_multi_turn(group) or self.prove().multi_turn else split_turns(group)

    def spans(self, prompt: Sequence[Message], response: Sequence[Message], opened: str) -> list[Span]:
        """The stretches of a response's branch: what follows the opened prompt, up to the last end token.

        Raises:
            TemplateError: rules prefix, history, opening, content or end.
        """
        if not response or response[0].role != "assistant" or response[-1].role != "assistant":
            raise DataError("a response must start and end with an assistant turn")
        if self.renderer is None:
            return self._raw_spans(response)
        spans: list[Span] = []
        done = opened
        for i, turn in enumerate(response):
            if turn.role != "assistant":
                continue
            before = opened
            if i:
                before = self.render((*prompt, *response[:i]), opened=True)
                self._require(before, done, "history", "a later turn changes how an earlier one is written")
                spans.append(Span(before[len(done) :], False))
            full = self.render((*prompt, *response[: i + 1]), opened=False)
            self._require(full, before, "prefix", "what generation starts from is not how the finished turn begins")
            body, end_text = self._body(before, full[len(before) :], self.guard(turn.content))
            spans.append(Span(body, True, self.end_texts[end_text]))
            done = before + body + end_text
        return spans

    def _raw_spans(self, response: Sequence[Message]) -> list[Span]:
        if not self._ends:
            raise TemplateError("rule 'end': the model names no end token", where=self.where, fix="name one with end:")
        return [
            Span(self.guard(m.content), m.role == "assistant", self._ends[0] if m.role == "assistant" else None)
            for m in response
        ]

    def _require(self, text: str, start: str, rule: str, problem: str) -> None:
        if text.startswith(start):
            return
        at = next((i for i, (a, b) in enumerate(zip(text, start, strict=False)) if a != b), min(len(text), len(start)))
        raise TemplateError(
            f"rule '{rule}': {problem}; at character {at} {start[max(0, at - 20) : at + 40]!r} "
            f"became {text[max(0, at - 20) : at + 40]!r}",
            where=self.where,
            fix="train turn by turn" if rule == "history" else "use a template for training that keeps this rule",
        )

    def _body(self, opened: str, tail: str, content: str) -> tuple[str, str]:
        """(what is trained, the end token's text) of what the finished turn adds to the opened prompt."""
        ends = [(tail.find(text), text) for text in self.end_texts if text in tail]
        if not ends:
            found = self._control.findall(tail) if self._control else []
            known = ", ".join(self.end_texts) or "none"
            raise TemplateError(
                f"rule 'end': the turn closes with {found[-1] if found else tail[-20:]!r}, "
                f"which is not an end token generation stops at ({known})",
                where=self.where,
                fix="name it with end:, or set eos_token_id in generation_config.json",
            )
        at, end_text = min(ends)
        body = tail[:at]
        place = body.find(content.strip())
        # The generation prompt may hold the response's first words already: an opening <think>.
        if place < 0 and _squeezed(content) not in _squeezed(opened[-_OPENING:] + body):
            raise TemplateError(
                f"rule 'content': the template changes the response {content.strip()[:60]!r} to {body.strip()[:60]!r}",
                where=self.where,
                fix="use a template that keeps the response's text",
            )
        lead = body[: max(place, 0)]
        if self._control and self._control.search(lead):
            raise TemplateError(
                f"rule 'opening': what opens the assistant's turn, {lead!r}, is not in the generation prompt, "
                "so it would be trained as the response",
                where=self.where,
            )
        return body, end_text

    def visible(self, ids: Sequence[int]) -> str:
        """Text of ids as it stands inside a conversation, special tokens shown."""
        start = [self._anchor] if self._anchor is not None else []
        text = str(self.tokenizer.decode([*start, *ids], skip_special_tokens=False))
        return text.removeprefix(self._anchor_text)

    @staticmethod
    def plain(text: str) -> str:
        """Guarded text as its author wrote it."""
        return text.replace(CUT, "")

    def decode(self, ids: Sequence[int]) -> str:
        """Text of generated ids, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))


def _drop(out: Encoded, error: DataError | TemplateError, where: str) -> None:
    kind = {PromptTooLong: "prompt-too-long", TemplateError: "template"}.get(type(error), "data")
    out.count("dropped")
    out.count(f"dropped:{kind}")
    if len(out.findings) < 100:
        out.findings.append(Finding(kind, "warning", error.message, where))


def is_multi_turn(group: Group) -> bool:
    """Whether a response holds more than one assistant turn."""
    return any(sum(m.role == "assistant" for m in r.messages) > 1 for r in group.responses)


def split_turns(group: Group) -> list[Group]:
    """A demonstration of several turns as one group an assistant turn, everything before it being the prompt.

    Raises:
        DataError: more than one response, whose later turns answer different prompts.
    """
    if len(group.responses) != 1:
        raise DataError("responses of several turns cannot be compared turn by turn", where=group.id)
    turns = group.responses[0].messages
    ends = [i for i, m in enumerate(turns) if m.role == "assistant"]
    return [
        replace(
            group,
            prompt=(*group.prompt, *turns[:i]),
            responses=(replace(group.responses[0], messages=turns[i : i + 1]),),
            id=f"{group.id}#{n}",
        )
        for n, i in enumerate(ends, 1)
    ]


def _squeezed(text: str) -> str:
    return "".join(text.split())


def _is_anchor(tokenizer: Tokenizer, token: int) -> bool:
    """Whether a token can stand before a text without changing how the text is encoded."""
    text = tokenizer.get_added_tokens_decoder()[token].content
    ids = tokenizer.encode(f"{text}\n a", add_special_tokens=False).ids
    return len(ids) > 1 and ids[0] == token and "\n" in tokenizer.decode(ids[1:], skip_special_tokens=False)


def _template_file(path: Path) -> tuple[str, str]:
    if not path.is_file():
        raise TemplateError("no such template file", where=str(path), fix='give a Jinja file, "auto" or "raw"')
    return path.read_text("utf-8"), str(path)


def _add_missing_tokens(tokenizer: Tokenizer, config: Mapping[str, Any], where: str) -> None:
    """Tokens that tokenizer_config.json adds to those of tokenizer.json, at the ids it gives them."""
    known = tokenizer.get_added_tokens_decoder()
    listed = config.get("added_tokens_decoder")
    for key, entry in sorted((listed if isinstance(listed, Mapping) else {}).items(), key=lambda item: int(item[0])):
        if int(key) in known:
            continue
        flags = {k: bool(entry.get(k)) for k in ("special", "lstrip", "rstrip", "single_word", "normalized")}
        tokenizer.add_tokens([AddedToken(entry["content"], **flags)])
        if tokenizer.token_to_id(entry["content"]) != int(key):
            raise ModelError(f"'{entry['content']}' does not get the id {key} it is listed with", where=where)


def _end_ids(
    model: Path, tokenizer: Tokenizer, names: Mapping[str, Any], end: Sequence[str]
) -> tuple[tuple[int, ...], list[str]]:
    """Ids generation stops at: the named ones, the tokenizer's own, generation_config's or config's; and remarks."""
    where = str(model / "tokenizer.json")
    ids: list[int] = []
    for text in (*end, names.get("eos_token")):
        if text is None:
            continue
        token = tokenizer.token_to_id(text)
        if token is None:
            raise ModelError(f"the end token '{text}' is not in the vocabulary", where=where)
        ids.append(token)
    notes: list[str] = []
    for name in ("generation_config.json", "config.json"):
        value = jinja.read_json(model / name).get("eos_token_id")
        if value is not None:
            listed = [int(i) for i in (value if isinstance(value, list) else [value])]
            if missing := [str(tokenizer.id_to_token(i)) for i in ids if i not in listed]:
                notes.append(f"{name} does not list {', '.join(missing)} among the tokens generation stops at.")
            ids += listed
            break
    for i in ids:
        if tokenizer.id_to_token(i) is None:
            raise ModelError(f"the end token id {i} is not in the vocabulary", where=where)
    return tuple(dict.fromkeys(ids)), notes
