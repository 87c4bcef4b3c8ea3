"""Instructions whose fulfilment can be counted: capitals, lists of k items, sentences of n words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from random import Random
from typing import Any

from hizala.world.task import Judged, Problem, Quality, Task, wording
from hizala.world.text import lower, pick, repeats, sentence, upper, visible, words
from hizala.world.words import ADJECTIVES, CATEGORIES, NOUNS, QUALITIES, SUBJECTS, row

_CAPS = {
    "tr": (
        (
            "Büyük harflerle yaz: {p}",
            '"{p}" sözünü büyük harfle yaz.',
            "Şunu tamamen büyük harfe çevir: {p}",
            "Yalnızca büyük harf kullan ve yaz: {p}",
            "Tamamen büyük harflerle yaz: {p}",
            'Şu sözü büyük harfe çevir: "{p}"',
            '"{p}" sözünü büyük harfe çevir.',
        ),
        ("Büyük harfe çevir: {p}", '"{p}" sözünü tamamen büyük harflerle yaz.'),
    ),
    "en": (
        (
            "Write in capitals: {p}",
            'Write "{p}" in capital letters.',
            "Turn this into all capitals: {p}",
            "Use only capital letters and write: {p}",
            "Write in all capital letters: {p}",
            'Turn "{p}" into capitals.',
            'Turn these words into capital letters: "{p}"',
        ),
        ("Turn into capital letters: {p}", 'Write "{p}" in all capitals.'),
    ),
}
_LIST = {
    "tr": (
        (
            "{k} {c} adı yaz, her satırın başına {m} koy.",
            "Bana {k} {c} say. Her satır {m} ile başlasın.",
            "{m} ile başlayan satırlarla {k} {c} listele.",
            "{k} {c} adı say. Her satır {m} ile başlasın.",
            "Her satırın başına {m} koy ve {k} {c} yaz.",
            "Bana {m} ile başlayan {k} satır yaz. Konu: {c}.",
        ),
        (
            "Bana {k} {c} adı yaz. Her satırın başına {m} koy.",
            "{k} {c} listele. Her satır {m} ile başlasın.",
            "{m} ile başlayan satırlarla {k} {c} adı yaz.",
        ),
    ),
    "en": (
        (
            "Name {k} {c} and begin each line with {m}.",
            "Give me {k} {c}. Each line starts with {m}.",
            "Write a list of {k} {c}, using {m} on each line.",
            "Name {k} {c}, using {m} on each line.",
            "Begin each line with {m} and write {k} {c}.",
            "Write {k} {c}. Each line starts with {m}.",
        ),
        (
            "Give me {k} {c} and begin each line with {m}.",
            "Name {k} {c}. Each line starts with {m}.",
            "Write a list of {k} {c}. Each line starts with {m}.",
        ),
    ),
}
_COUNT = {
    "tr": (
        (
            "{s} hakkında tam {n} kelimelik bir cümle yaz.",
            "Konu: {s}. Tam {n} kelime kullan.",
            "{n} kelimeyle {s} hakkında yaz.",
            "{s} hakkında {n} kelime kullan.",
            "Tam {n} kelimelik bir cümle yaz. Konu: {s}.",
            "{n} kelimelik bir cümle yaz, konu {s} olsun.",
        ),
        (
            "{s} hakkında tam {n} kelime yaz.",
            "Konu: {s}. {n} kelimelik bir cümle yaz.",
            "Tam {n} kelimeyle {s} hakkında yaz.",
            "{s} hakkında {n} kelimelik bir cümle yaz.",
        ),
    ),
    "en": (
        (
            "Write a sentence about {s} in exactly {n} words.",
            "Topic: {s}. Use exactly {n} words.",
            "In {n} words, write about {s}.",
            "Use {n} words about {s}.",
            "Write exactly {n} words. Topic: {s}.",
            "Write about {s} in a sentence of {n} words.",
        ),
        (
            "Write exactly {n} words about {s}.",
            "Topic: {s}. Write a sentence in {n} words.",
            "In exactly {n} words, write about {s}.",
            "Write a sentence about {s} in {n} words.",
        ),
    ),
}
# Sentences by number of words; {S} begins the sentence, {s} stands inside it, {q} and {r} are two qualities.
_SENTENCES: dict[str, dict[int, tuple[str, ...]]] = {
    "tr": {
        3: ("{S} çok {q}.", "Bugün {s} {q}.", "{S} gerçekten {q}."),
        4: ("{S} bugün çok {q}.", "Bence {s} gerçekten {q}.", "{S} {q} ve {r}."),
        5: ("Bence {s} bugün çok {q}.", "{S} hem {q} hem {r}.", "Bugün {s} {q} ve {r}."),
        6: ("Bence {s} bugün gerçekten çok {q}.", "{S} bugün hem {q} hem {r}.", "Bence {s} çok {q} ve {r}."),
        7: ("Bence {s} bugün hem {q} hem {r}.", "{S} bugün gerçekten çok {q} ve {r}."),
    },
    "en": {
        4: ("{S} is {q}.", "{S} looks {q}."),
        5: ("{S} is very {q}.", "Today {s} is {q}.", "{S} looks really {q}."),
        6: ("Today {s} is very {q}.", "{S} is {q} and {r}.", "{S} looks {q} and {r}."),
        7: ("Today {s} is {q} and {r}.", "{S} is really {q} and {r}.", "I think {s} is {q} today."),
        8: ("I think {s} is {q} and {r}.", "Today {s} looks very {q} and {r}."),
    },
}
_FRAME = {
    "tr": frozenset(row("çok bugün gerçekten bence ve hem")),
    "en": frozenset(row("is looks very really today and i think")),
}


def _caps_problem(rng: Random, lang: str, split: str) -> Problem:
    first, second = rng.randrange(len(ADJECTIVES[lang])), rng.randrange(len(NOUNS[lang]))
    many = rng.random() < 0.3
    phrase = f"{ADJECTIVES[lang][first]} {NOUNS[lang][second]}"
    if many:
        phrase = f"{'çok' if lang == 'tr' else 'very'} {phrase}"
    text, name = wording(rng, split, *_CAPS[lang])
    data = {"phrase": phrase, "answer": upper(phrase, lang)}
    return Problem(text.format(p=phrase), f"{lang}:{first}:{second}:{int(many)}", f"{lang}-caps-{name}", data)


def _caps_respond(data: Mapping[str, Any], lang: str, quality: Quality, rng: Random, think: bool) -> str:
    phrase, answer = str(data["phrase"]), str(data["answer"])
    if quality == "good":
        return answer
    if quality == "half":
        return f"{'Tamam' if lang == 'tr' else 'Okay'}: {answer}"
    parts = answer.split()
    at = rng.randrange(len(parts))
    one_small = " ".join(lower(w, lang) if i == at else w for i, w in enumerate(parts))
    titled = " ".join(sentence(w, lang) for w in phrase.split())
    options = [phrase, titled, one_small, phrase.upper(), parts[0]]
    return pick(rng, [o for o in options if o != answer])


def _caps_judge(data: Mapping[str, Any], lang: str, prompt: str, text: str) -> Judged:
    """Exactly the phrase in capitals (quotes and a full stop are forgiven); half when words stand around it."""
    shown = visible(text)
    bare = "" if shown is None else shown.strip(" \"'“”.\n")
    answer = str(data["answer"])
    correct = float(bool(re.search(rf"(?<!\w){re.escape(answer)}(?!\w)", bare)))
    alone = float(bare == answer)
    short = float(len(bare) <= len(answer) + 16)
    value = correct * short * (0.5 + 0.5 * alone)
    return Judged(value, {"correct": correct * short, "format": alone}, "" if value == 1 else "not just the capitals")


def _list_problem(rng: Random, lang: str, split: str) -> Problem:
    names = list(CATEGORIES[lang])
    index, k, dashed = rng.randrange(len(names)), rng.randint(2, 5), rng.random() < 0.5
    text, name = wording(rng, split, *_LIST[lang])
    mark = ("çizgi" if lang == "tr" else "a dash") if dashed else ("sayı" if lang == "tr" else "a number")
    data = {"category": names[index], "k": k, "dashed": dashed}
    prompt = text.format(k=k, c=names[index], m=mark)
    return Problem(sentence(prompt, lang), f"{index}:{k}:{int(dashed)}", f"{lang}-list-{name}", data)


def _list_respond(data: Mapping[str, Any], lang: str, quality: Quality, rng: Random, think: bool) -> str:
    members, k, dashed = CATEGORIES[lang][data["category"]], int(data["k"]), bool(data["dashed"])
    start = rng.randrange(len(members))
    items = [members[(start + i) % len(members)] for i in range(k)]
    if quality == "half":  # right items, the other mark
        dashed = not dashed
    elif quality == "bad":
        fault = rng.random()
        if fault < 0.5:
            items = [*items, members[(start + k) % len(members)]] if rng.random() < 0.5 else items[:-1]
        elif fault < 0.75:
            other = pick(rng, [c for c in CATEGORIES[lang] if c != data["category"]])
            items[rng.randrange(k)] = pick(rng, CATEGORIES[lang][other])
        else:
            items[-1] = items[0]
    return "\n".join(f"- {item}" if dashed else f"{i}. {item}" for i, item in enumerate(items, 1))


def _list_judge(data: Mapping[str, Any], lang: str, prompt: str, text: str) -> Judged:
    """k different members of the category (needed), one a line with the mark asked for (half the value)."""
    members = {lower(m, lang) for m in CATEGORIES[lang][data["category"]]}
    lines = [line.strip() for line in (visible(text) or "").splitlines() if line.strip()]
    items = [lower(re.sub(r"^(?:[-•*]\s*|[0-9]{1,2}[.)]\s*)", "", line), lang).rstrip(".,") for line in lines]
    known = float(bool(items) and all(item in members for item in items))
    counted = float(len(items) == data["k"] and len(set(items)) == len(items))
    marks = [f"- {i}" if data["dashed"] else f"{n}. {i}" for n, i in enumerate(items, 1)]
    form = float(bool(items) and [lower(line, lang).rstrip(".,") for line in lines] == marks)
    value = known * counted * (0.5 + 0.5 * form)
    reason = "" if value == 1 else "unknown item" if not known else "wrong number of items" if not counted else "marks"
    return Judged(value, {"known": known, "counted": counted, "format": form}, reason)


def _count_problem(rng: Random, lang: str, split: str) -> Problem:
    index = rng.randrange(len(SUBJECTS[lang]))
    sizes = sorted(_SENTENCES[lang])
    step = rng.randrange(len(sizes))
    text, name = wording(rng, split, *_COUNT[lang])
    subject = SUBJECTS[lang][index][1]
    data = {"subject": index, "n": sizes[step]}
    prompt = text.format(s=subject, n=sizes[step])
    return Problem(sentence(prompt, lang), f"{index}:{step}", f"{lang}-count-{name}", data)


def _count_sentence(subject: int, n: int, lang: str, rng: Random) -> str:
    begin, inside = SUBJECTS[lang][subject]
    index = rng.randrange(len(QUALITIES[lang]))
    first, second = QUALITIES[lang][index], QUALITIES[lang][(index + 1) % len(QUALITIES[lang])]
    return pick(rng, _SENTENCES[lang][n]).format(S=begin, s=inside, q=first, r=second)


def _count_respond(data: Mapping[str, Any], lang: str, quality: Quality, rng: Random, think: bool) -> str:
    subject, n = int(data["subject"]), int(data["n"])
    sizes = sorted(_SENTENCES[lang])
    if quality == "good":
        return _count_sentence(subject, n, lang, rng)
    near = [s for s in sizes if abs(s - n) == 1]
    if quality == "half":
        return _count_sentence(subject, rng.choice(near), lang, rng)
    if rng.random() < 0.6:
        far = [s for s in sizes if s != n]
        return _count_sentence(subject, rng.choice(far), lang, rng)
    return _count_sentence((subject + 1 + rng.randrange(len(SUBJECTS[lang]) - 1)) % len(SUBJECTS[lang]), n, lang, rng)


def _count_judge(data: Mapping[str, Any], lang: str, prompt: str, text: str) -> Judged:
    """One sentence of exactly n known words about the subject; off by one word is worth 0.3."""
    tokens = words(visible(text) or "", lang)
    subject = SUBJECTS[lang][int(data["subject"])][1].split()[-1]
    lexicon = _FRAME[lang] | set(QUALITIES[lang]) | {"the"} | {subject}
    about = float(tokens.count(subject) == 1)
    fluent = float(bool(tokens) and all(t in lexicon for t in tokens) and not repeats(tokens))
    content = [t for t in tokens if t not in ("hem", "the")]
    fluent *= float(len(set(content)) == len(content) and any(t in QUALITIES[lang] for t in tokens))
    off = abs(len(tokens) - int(data["n"]))
    counted = 1.0 if off == 0 else 0.3 if off == 1 else 0.0
    reason = "" if about * fluent * counted == 1 else f"{len(tokens)} words" if off else "not a sentence about it"
    return Judged(about * fluent * counted, {"counted": float(off == 0), "topic": about, "fluent": fluent}, reason)


TASKS: tuple[Task, ...] = (
    Task("caps", _caps_problem, _caps_respond, _caps_judge),
    Task("list", _list_problem, _list_respond, _list_judge),
    Task("count", _count_problem, _count_respond, _count_judge),
)
