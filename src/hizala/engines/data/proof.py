"""The proof of a chat template: its training mask is checked on its own tokenizer, or refused by a rule's name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from hizala.errors import TemplateError
from hizala.records import Group, Message, Response, TokenGroup

if TYPE_CHECKING:
    from hizala.engines.data.templates import ChatTemplate

RULES = {
    "render": "the template renders ordinary conversations",
    "deterministic": "the same conversation gives the same text",
    "prefix": "what generation starts from is how the finished turn begins",
    "opening": "what opens the assistant's turn belongs to the prompt",
    "content": "the texts of the turns stand in the rendering as they are, but for white space around them",
    "end": "an end token generation stops at closes the turn, and it is trained",
    "mask": "the response's own tokens are trained and nothing else is",
    "boundary": "prompt and response encoded apart give the tokens of the whole",
    "history": "a later turn does not change how an earlier one is written",
    "forgery": "special tokens typed into a message stay text",
    "round-trip": "decoding gives the text back",
}
ORDINARY = (
    "Merhaba",
    "The answer is 42.",
    "Çok güzel: İstanbul'da ışıl ışıl bir öğle, gölgede şöyle bir ağaç.",
    "12345 + 678 = 13023, 3,14 ve 007",
    "First line\nsecond line\n\n- a list\n\t- with a tab",
)
EDGE = ("  two spaces before", "two spaces after  ", "\nnewline before", "newlines after\n\n", " ", "")
REASONED = "<think>\nTwo and two.\n</think>\n\nFour."
SYSTEM = Message("system", "Kısa yanıt ver.")
_RENDERS = 8
_HOSTILE_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Proof:
    """What was checked of a template, and what it can and cannot do.

    Attributes:
        template: where the template stands.
        digest: of tokenizer, template and end tokens.
        rules: the rules that hold.
        conversations: synthetic conversations they were checked on.
        end: the end token that is trained, as text.
        opens: the last characters of what generation starts from.
        multi_turn: responses of several assistant turns can be trained in one piece; else they go turn by turn.
        system: system turns are written out.
        reasoning: responses may carry a <think> block.
        notes: what a user should know, in sentences.
    """

    template: str
    digest: str
    rules: tuple[str, ...]
    conversations: int
    end: str
    opens: str
    multi_turn: bool
    system: bool
    reasoning: bool
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)


def _user(text: str) -> Message:
    return Message("user", text)


def _assistant(text: str) -> Message:
    return Message("assistant", text)


def prove(chat: ChatTemplate) -> Proof:
    """Check every rule on synthetic conversations.

    Raises:
        TemplateError: a rule is broken; the message names it and shows the difference.
    """
    notes = list(chat.notes)
    if not chat.end_ids():
        raise _broken(chat, "end", "the model names no end token", "name one with end:")
    _deterministic(chat)
    _marks_are_special(chat)
    count = 0
    for text in ORDINARY:
        _check(chat, (_user("Soru: 2 + 2?"),), text)
        _check(chat, (_user(text),), "Four.")
        count += 2
    for text in EDGE:
        count += _check_edge(chat, text, notes)
    _forgery(chat)
    history = (_user("Merhaba"), _assistant("Selam."), _user("Nasılsın?"))
    _check(chat, history, "İyiyim.")
    reasoning = _reasoning(chat, notes)
    system = _system(chat, notes)
    plain = (_user("Merhaba"),)
    multi_turn = _multi_turn(chat, plain) and (not system or _multi_turn(chat, (SYSTEM, *plain)))
    if not multi_turn:
        notes.append(
            "Several assistant turns cannot be trained in one piece, because the template rewrites earlier turns; "
            "such conversations are trained turn by turn, each as generation sees it."
        )
    _notes_on_text(chat, notes, reasoning)
    opened = chat.render((_user("Merhaba"),), opened=True)
    end = _check(chat, (_user("Merhaba"),), "Selam.")
    rules = tuple(rule for rule in RULES if multi_turn or rule != "history")
    return Proof(
        chat.where, chat.digest, rules, count + 6, end, opened[-40:], multi_turn, system, reasoning, tuple(notes)
    )


def _broken(chat: ChatTemplate, rule: str, problem: str, fix: str = "") -> TemplateError:
    return TemplateError(f"rule '{rule}': {problem}", where=chat.where, fix=fix)


def _deterministic(chat: ChatTemplate) -> None:
    turns = (_user("Merhaba"), _assistant("Selam."), _user("Nasılsın?"))
    texts = {chat.render(turns, opened=True) for _ in range(_RENDERS)}
    if len(texts) > 1:
        first, second = sorted(texts)[:2]
        at = next(i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b)
        raise _broken(
            chat, "deterministic", f"two renderings differ at character {at}: {first[at:][:30]!r}, {second[at:][:30]!r}"
        )


def _check(chat: ChatTemplate, prompt: Sequence[Message], text: str, *, ordinary: bool = True) -> str:
    """All single-turn rules on one conversation; returns the end token's text."""
    group = Group(tuple(prompt), (Response((_assistant(text),)),), id="proof")
    tokens = chat.encode_group(group)
    opened = chat.render(group.prompt, opened=True)
    spans = chat.spans(group.prompt, group.responses[0].messages, opened)
    if chat.renderer is not None:
        _opening(chat, group, opened, spans[0].text, text)
    branch = tokens.responses[0]
    if not branch.ids or branch.ids[-1] not in chat.end_ids() or not branch.mask[-1]:
        raise _broken(chat, "end", "the response does not close with a trained end token")
    if list(tokens.prompt) != chat.encode_prompt(group) or not all(branch.mask):
        raise _broken(chat, "mask", "the trained tokens are not exactly the response's")
    if sum(i in chat.control_ids for i in branch.ids[:-1]):
        raise _broken(chat, "forgery", "a control token stands inside the response")
    _round_trip(chat, branch.ids[:-1], spans[0].text)
    if ordinary:
        own = len(chat.encode_text(chat.guard(text).strip())) + 1
        _boundary(chat, tokens, opened, [spans[0].text + _end_text(chat, branch.ids[-1])], own)
    return _end_text(chat, branch.ids[-1])


def _end_text(chat: ChatTemplate, token: int) -> str:
    return next(text for text, i in chat.end_texts.items() if i == token)


def _opening(chat: ChatTemplate, group: Group, opened: str, body: str, text: str) -> None:
    """A template that ignores the generation prompt leaves the turn's header to the response."""
    lead = body[: body.find(chat.guard(text).strip())].strip() if text.strip() else ""
    if lead and opened == chat.render(group.prompt, opened=False):
        raise _broken(
            chat,
            "opening",
            f"the generation prompt is empty and the turn begins with {lead!r}, which would be trained as the response",
            "use a template that writes the assistant's header when add_generation_prompt is true",
        )


def _round_trip(chat: ChatTemplate, ids: Sequence[int], text: str) -> None:
    back, plain = chat.visible(ids), chat.plain(text)
    if back != plain and back.removeprefix(" ") != plain:
        raise _broken(chat, "round-trip", f"{plain[:60]!r} comes back as {back[:60]!r}", "the tokenizer loses text")


def _boundary(chat: ChatTemplate, tokens: TokenGroup, opened: str, rest: Sequence[str], own: int | None = None) -> None:
    """Prompt and response apart against both together.

    Between the two a template may put text of its own (an empty <think> block). Where only that text would merge
    with the prompt's end, encoding apart is what generation sees, so the last `own` tokens decide.
    """
    apart = [*tokens.prompt, *tokens.responses[0].ids]
    whole = [*chat.raw_start, *chat.encode_text(opened + "".join(rest), start=True)]
    if chat.renderer is None or apart == whole:
        return
    if own is not None and own < len(tokens.responses[0].ids) and apart[-own:] == whole[-own:]:
        return
    at = next((i for i, (a, b) in enumerate(zip(apart, whole, strict=False)) if a != b), min(len(apart), len(whole)))
    seen = [chat.tokenizer.id_to_token(i) for i in apart[max(0, at - 1) : at + 3]]
    joint = [chat.tokenizer.id_to_token(i) for i in whole[max(0, at - 1) : at + 3]]
    raise _broken(
        chat,
        "boundary",
        f"encoded apart the tokens at the border are {seen}, encoded together {joint}",
        "end the generation prompt with a special token or a newline that does not merge with text",
    )


def _check_edge(chat: ChatTemplate, text: str, notes: list[str]) -> int:
    """White space and empty responses: they may be trimmed, and a template may refuse them; both are said."""
    try:
        _check(chat, (_user("Merhaba"),), text, ordinary=False)
    except TemplateError as error:
        if "rule 'render'" not in error.message or text.strip():
            raise
        notes.append(f"A response of {text!r} is refused by the template; such rows are dropped and counted.")
    return 1


def _marks_are_special(chat: ChatTemplate) -> None:
    """Only special tokens can be kept apart from typed text, so turns must be marked by nothing else."""
    turn = chat.render((_user("a b"),), opened=False)
    added = chat.tokenizer.get_added_tokens_decoder()
    used = {i for i in chat.encode_text(turn, start=True) if i in added} | set(chat.end_ids())
    if loose := sorted(str(chat.tokenizer.id_to_token(i)) for i in used - chat.control_ids):
        raise _broken(
            chat,
            "forgery",
            f"{', '.join(loose)} mark turns but are not special tokens, so anybody who types them forges a turn",
            "mark them as special in tokenizer.json",
        )


def _forgery(chat: ChatTemplate) -> None:
    """Special tokens typed by a user or a model must stay text, in prompt and response."""
    typed = " ".join(text for text in chat.control_texts[:_HOSTILE_TOKENS] if len(text) > 1)
    typed = " ".join(dict.fromkeys([*(t for t in chat.end_texts if len(t) > 1), *typed.split(" ")]))
    hostile, plain = f"a {typed} b", "a b"

    def controls(user: str, answer: str) -> tuple[int, int]:
        group = Group((_user(user),), (Response((_assistant(answer),)),), id="proof")
        tokens = chat.encode_group(group)
        wanted = chat.control_ids | set(chat.end_ids())
        return sum(i in wanted for i in tokens.prompt), sum(i in wanted for i in tokens.responses[0].ids)

    if controls(hostile, hostile) != controls(plain, plain):
        raise _broken(chat, "forgery", "text typed into a message becomes a control token", "mark the token as special")
    opened = chat.render((_user(plain),), opened=True)
    span = chat.spans((_user(plain),), (_assistant(hostile),), opened)[0]
    _round_trip(chat, chat.encode_text(span.text), span.text)


def _multi_turn(chat: ChatTemplate, prompt: tuple[Message, ...]) -> bool:
    """Whether several assistant turns can be trained in one branch; the mask must leave the user's turns out."""
    turns = (_assistant("Selam."), _user("Kaç yaşındasın?"), _assistant("Yaşım yok."))
    group = Group(prompt, (Response(turns),), id="proof")
    try:
        tokens = chat.encode_group(group)
    except TemplateError as error:
        if "rule 'history'" not in error.message:
            raise
        return False
    branch = tokens.responses[0]
    opened = chat.render(prompt, opened=True)
    spans = chat.spans(prompt, turns, opened)
    texts = [span.text + (_end_text(chat, span.end) if span.end is not None else "") for span in spans]
    _boundary(chat, tokens, opened, texts, len(chat.encode_text(turns[-1].content)) + 1)
    trained = chat.visible([i for i, counts in zip(branch.ids, branch.mask, strict=True) if counts])
    wanted = "".join(t for t, span in zip(texts, spans, strict=True) if span.trained)
    if trained.replace(" ", "") != chat.plain(wanted).replace(" ", "") or "Kaç yaşındasın?" in trained:
        raise _broken(chat, "mask", f"over several turns {trained[:80]!r} is trained instead of {wanted[:80]!r}")
    ends = [i for i, counts in zip(branch.ids, branch.mask, strict=True) if counts and i in chat.end_ids()]
    if len(ends) != 2:
        raise _broken(chat, "end", f"over two assistant turns {len(ends)} end tokens are trained")
    return True


def _reasoning(chat: ChatTemplate, notes: list[str]) -> bool:
    """Whether a response may carry a <think> block; a row that has one is refused otherwise, never trained without."""
    try:
        _check(chat, (_user("Soru: 2 + 2?"),), REASONED, ordinary=False)
    except TemplateError as error:
        rule = error.message.partition(":")[0]
        notes.append(f"Responses with a <think> block break {rule}; such rows are dropped and counted.")
        return False
    return True


def _system(chat: ChatTemplate, notes: list[str]) -> bool:
    try:
        _check(chat, (SYSTEM, _user("Merhaba")), "Selam.")
    except TemplateError as error:
        if "rule 'render'" not in error.message and "rule 'content'" not in error.message:
            raise
        notes.append("System turns are not supported by the template; rows that have one are dropped and counted.")
        return False
    return True


def _notes_on_text(chat: ChatTemplate, notes: list[str], reasoning: bool) -> None:
    if chat.renderer is None:
        return
    if "strftime_now" in chat.renderer.source:
        notes.append("The template writes the date; it is pinned, so that every rendering is the same.")
    opened = chat.render((_user("Merhaba"),), opened=True)
    lead = chat.spans((_user("Merhaba"),), (_assistant("Selam."),), opened)[0].text
    if not lead.strip().startswith("Selam."):
        notes.append(f"The template puts {lead[: lead.find('Selam.')]!r} before each response; it is trained with it.")
    edge = chat.spans((_user("Merhaba"),), (_assistant("  Selam.  "),), opened)[0].text
    if "  Selam.  " not in edge:
        notes.append("The template trims white space around a response.")
    if not reasoning:
        return
    try:
        body = chat.spans((_user("Merhaba"),), (_assistant("<think>a</think>b"),), opened)[0].text
    except TemplateError:
        notes.append("Responses whose <think> block has other white space than the template's are dropped and counted.")
        return
    if "<think>a</think>b" not in opened + body:
        notes.append("The template rewrites the white space around <think> blocks.")
