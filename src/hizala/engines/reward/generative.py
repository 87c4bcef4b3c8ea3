"""Reward models that judge in words: a policy is asked which answer is better, or how good one is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch

from hizala.engines.reward.verdicts import Form
from hizala.errors import ConfigError
from hizala.protocols import Policy, Sampler, Tokenizer
from hizala.records import Group, Message, Response, TokenBranch, TokenGroup, Verdict


@dataclass(frozen=True, slots=True)
class Comparison:
    """What a judge says of two answers.

    Attributes:
        value: probability that the first is better, mean over both orders where both were asked; None: not scored.
        forward: the same with the first answer shown as A; None: not scored.
        backward: the same with the first answer shown as B; None: not scored, or not asked.
        mass: probability the judge gives to A and B together, mean over the orders asked; NaN where it was not read.
        reason: why it was not scored, or what was said.
    """

    value: float | None
    forward: float | None
    backward: float | None = None
    mass: float = math.nan
    reason: str = ""

    @property
    def consistent(self) -> bool | None:
        """Whether both orders prefer the same answer; None where not both were scored."""
        if self.forward is None or self.backward is None:
            return None
        return (self.forward > 0.5) == (self.backward > 0.5)


@dataclass(frozen=True, slots=True)
class _Asked:
    """One question to the judge and what came of it: a probability for each option, or None with the reason."""

    shares: tuple[float, ...] | None
    mass: float
    reason: str


class GenerativeJudge:
    """A policy as a judge.

    pairwise   p(first is better) = 1/2 [ pi(A | first as A) + 1 - pi(A | first as B) ]
    pointwise  score = sum_g pi(g | answer) (g - 1) / 4,  g = 1 … 5

    pi(option) is either read from the log-probs of the options, renormalised over them (soft), or the share of
    `votes` sampled verdicts. With reasoning the judge first writes its reasons; soft then reads the options' log-probs
    after its own reasons. A verdict that does not stand exactly as asked is not scored.

    Args:
        policy: the judge; measured as in evaluation.
        tokenizer: of the policy.
        form: how it is asked; `language_of` may choose the language of each group.
        sampler: on the policy; needed with reasoning and where `soft` is False.
        soft: read log-probs instead of counting sampled verdicts.
        swap: ask a comparison in both orders.
        votes: sampled judgements of each question.
        max_tokens: most tokens of a sampled judgement.
        seed: of the sampling.
        token_budget: tokens in one forward.
        language_of: a group -> "en" or "tr"; the form's own language where it is not given.
    Raises:
        ConfigError: a sampler is missing, or votes are asked for where nothing is sampled.
    Source: Zheng et al. 2023, arXiv:2306.05685, sec. 3.1 and 3.4 (both orders); Zhang et al. 2024, arXiv:2408.15240,
        eq. 6 (the verdict token's probability as reward) and eq. 8 (averaged over sampled reasoning).
    """

    def __init__(
        self,
        policy: Policy,
        tokenizer: Tokenizer,
        form: Form,
        *,
        sampler: Sampler | None = None,
        soft: bool = True,
        swap: bool = True,
        votes: int = 1,
        max_tokens: int = 64,
        seed: int = 0,
        token_budget: int = 8192,
        language_of: Callable[[Group], str] | None = None,
    ) -> None:
        samples = form.reasoning or not soft
        if samples and sampler is None:
            raise ConfigError("a judge that writes needs a sampler", fix="give one, or ask for a soft bare verdict")
        if votes < 1 or (votes > 1 and not samples):
            raise ConfigError(f"votes = {votes} has no effect on a judge that does not write", fix="give votes: 1")
        self.policy, self.tokenizer, self.form, self.sampler = policy, tokenizer, form, sampler
        self.soft, self.swap, self.votes, self.max_tokens, self.seed = soft, swap, votes, max_tokens, seed
        self.token_budget, self.language_of = token_budget, language_of

    def compare(self, pairs: Sequence[Group]) -> list[Comparison]:
        """Which of two answers is better.

        Args:
            pairs: groups of two responses each.
        Returns:
            One comparison a pair; `value` is for the first response.
        Raises:
            ConfigError: the form is pointwise.
        """
        if self.form.kind != "pairwise":
            raise ConfigError("a pointwise judge grades answers and does not compare them", fix="use a pairwise form")
        orders = ((0, 1), (1, 0)) if self.swap else ((0, 1),)
        asked = self._ask([(pair, [pair.responses[i].text for i in order]) for pair in pairs for order in orders])
        found = []
        for start in range(0, len(asked), len(orders)):
            forward = asked[start]
            backward = asked[start + 1] if self.swap else None
            found.append(_comparison(forward, backward))
        return found

    def score(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        """One verdict a response, each value in [0, 1].

        Args:
            groups: pointwise: any; pairwise: of at least two responses, each scored by its mean probability of being
                better than each of the others.
        """
        return self._graded(groups) if self.form.kind == "pointwise" else self._tournament(groups)

    def _graded(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        asked = iter(self._ask([(group, [r.text]) for group in groups for r in group.responses]))
        steps = len(self.form.options) - 1
        verdicts = []
        for group in groups:
            some = []
            for _ in group.responses:
                one = next(asked)
                value = None if one.shares is None else sum(i * p for i, p in enumerate(one.shares)) / steps
                some.append(Verdict(value, one.reason, {"mass": one.mass}))
            verdicts.append(some)
        return verdicts

    def _tournament(self, groups: Sequence[Group]) -> list[list[Verdict]]:
        couples = [(g, i, j) for g, group in enumerate(groups) for i, j in combinations(range(len(group.responses)), 2)]
        pairs = [replace(groups[g], responses=(groups[g].responses[i], groups[g].responses[j])) for g, i, j in couples]
        won: list[list[list[float]]] = [[[] for _ in group.responses] for group in groups]
        for (g, i, j), result in zip(couples, self.compare(pairs), strict=True):
            if result.value is not None:
                won[g][i].append(result.value)
                won[g][j].append(1.0 - result.value)
        return [
            [Verdict(sum(w) / len(w) if w else None, "" if w else "no comparison was scored") for w in some]
            for some in won
        ]

    def _ask(self, questions: Sequence[tuple[Group, Sequence[str]]]) -> list[_Asked]:
        """Shares of the options for each question."""
        forms = [self._form(group) for group, _ in questions]
        asked = [
            replace(group, prompt=(form.ask(group.prompt, answers),), responses=(), id=f"{group.id}?{index}")
            for index, ((group, answers), form) in enumerate(zip(questions, forms, strict=True))
        ]
        if not self.form.reasoning and self.soft:
            return [
                _Asked(shares, mass, "") for shares, mass in self._options([(g, "") for g in asked], self.form.options)
            ]
        return self._sampled(asked, forms)

    def _form(self, group: Group) -> Form:
        return self.form if self.language_of is None else replace(self.form, language=self.language_of(group))

    def _sampled(self, asked: Sequence[Group], forms: Sequence[Form]) -> list[_Asked]:
        assert self.sampler is not None
        prompts = [self.tokenizer.encode_prompt(group) for group in asked]
        drawn = self.sampler.sample(prompts, n=self.votes, max_tokens=self.max_tokens, seed=self.seed)
        said = [[self.tokenizer.decode(s.ids) if not s.truncated else "" for s in some] for some in drawn]
        read = [[form.read(text) for text in some] for form, some in zip(forms, said, strict=True)]
        options = self.form.options
        if not self.soft:
            shares = [[tuple(float(v[0] == o) for o in options) for v in some if v is not None] for some in read]
            return [_voted(s, math.nan, texts) for s, texts in zip(shares, said, strict=True)]
        leads = [(group, v[1]) for group, some in zip(asked, read, strict=True) for v in some if v is not None]
        measured = iter(self._options(leads, options))
        result = []
        for some, texts in zip(read, said, strict=True):
            mine = [next(measured) for v in some if v is not None]
            mass = sum(m for _, m in mine) / len(mine) if mine else math.nan
            result.append(_voted([s for s, _ in mine], mass, texts))
        return result

    @torch.no_grad()
    def _options(
        self, leads: Sequence[tuple[Group, str]], options: Sequence[str]
    ) -> list[tuple[tuple[float, ...], float]]:
        """Probability of each option after each lead, renormalised over the options, and their mass before that."""
        groups = [self._branches(group, lead, options, number) for number, (group, lead) in enumerate(leads)]
        training = self.policy.module.training
        self.policy.module.eval()
        try:
            parts = [self.policy.logps(tree).total.double() for tree in self.policy.pack(groups, self.token_budget)]
        finally:
            self.policy.module.train(training)
        if not parts:
            return []
        logps = torch.cat(parts).view(len(groups), len(options))
        shares, masses = logps.softmax(dim=-1).tolist(), logps.exp().sum(dim=-1).tolist()
        return [(tuple(row), mass) for row, mass in zip(shares, masses, strict=True)]

    def _branches(self, group: Group, lead: str, options: Sequence[str], number: int) -> TokenGroup:
        """The question with each option as a branch, of which only the tokens count that tell the options apart."""
        said = tuple(Response((Message("assistant", lead + option),)) for option in options)
        tokens = self.tokenizer.encode_group(replace(group, responses=said, id=f"{group.id}:{number}"))
        rows = [tuple(branch.ids) for branch in tokens.responses]
        same = next((i for i, column in enumerate(zip(*rows, strict=False)) if len(set(column)) > 1), 0)
        if len({row[same] for row in rows}) < len(rows) or any(len(row) != same + 2 for row in rows):
            raise ConfigError(
                f"the tokenizer does not write each of {', '.join(options)} as one token of its own",
                fix="ask for sampled verdicts (soft: false)",
            )
        branches = [TokenBranch(row, (False,) * same + (True, False)) for row in rows]
        return replace(tokens, responses=tuple(branches))


def _voted(shares: Sequence[tuple[float, ...]], mass: float, said: Sequence[str]) -> _Asked:
    """The mean over the votes that could be read."""
    if not shares:
        return _Asked(None, mass, f"no verdict could be read in {said[0][:80]!r}")
    mean = tuple(sum(column) / len(shares) for column in zip(*shares, strict=True))
    return _Asked(mean, mass, said[0])


def _comparison(forward: _Asked, backward: _Asked | None) -> Comparison:
    first = None if forward.shares is None else forward.shares[0]
    second = None if backward is None or backward.shares is None else backward.shares[1]
    masses = [a.mass for a in (forward, backward) if a is not None]
    mass = sum(masses) / len(masses)
    reason = " / ".join(a.reason for a in (forward, backward) if a is not None and a.reason)
    if backward is None:
        return Comparison(first, first, None, mass, reason)
    value = None if first is None or second is None else (first + second) / 2
    return Comparison(value, first, second, mass, reason)
