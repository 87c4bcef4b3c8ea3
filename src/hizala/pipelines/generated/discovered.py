"""Self-discovered preferences: the policy's vote proposes a pair, its implicit reward has to agree."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from hizala.engines.policy import Policy
from hizala.engines.train import measure
from hizala.pipelines.candidates import Answers, Prompt
from hizala.pipelines.generated.judges import earlier
from hizala.pipelines.generated.makers import PromptRounds
from hizala.pipelines.generated.pairs import Harvest, Pick, gather
from hizala.pipelines.generated.parts import Parts
from hizala.pipelines.generated.settings import SelfDiscoveredSettings
from hizala.pipelines.generated.votes import Vote, vote
from hizala.records import Verdict


class Discoverer:
    """Pairs of one iteration, found by two witnesses of the policy itself.

    For a prompt x and K samples y_k ~ pi_t with answers a_k (see `votes`):
        agreement  alpha = max_a #{k : a_k = a} / K,  W = {k : a_k is the winning answer}, the rest being O
        evidence   e_k = 1/|y_k| [log pi_t(y_k|x) - log pi_anchor(y_k|x)]   (implicit), or 1/|y_k| log pi_t(y_k|x)
        margin     m = mean of e over W - mean of e over O
        pair       (argmax of e over whole samples of W, argmin of e over O), used if alpha >= agreement, O is not
                   empty and m >= least_margin

    Args:
        parts, settings, prompts: of the stage.
    Raises:
        ConfigError: the implicit evidence has no earlier model to be measured against.
    """

    def __init__(self, parts: Parts, settings: SelfDiscoveredSettings, prompts: Sequence[Prompt]) -> None:
        self.parts, self.settings = parts, settings
        self.rounds = PromptRounds(parts, settings, prompts)
        self.anchor: Callable[[], Policy] | None = None
        if settings.evidence == "implicit":
            self.anchor = partial(parts.open, earlier(parts.context, settings.anchor))

    def harvest(self, number: int) -> Harvest:
        """The pairs of iteration `number`, with log-probs under the reference."""
        answers = self.rounds.ask(number, self.settings.samples)
        evidence = self._evidence(answers)
        votes = [vote(a.texts, self.settings.answer) for a in answers]
        found = [self._pick(a, v, e) for a, v, e in zip(answers, votes, evidence, strict=True)]
        verdicts = [
            [Verdict(float(value), f"answer {said}") for value, said in zip(e, v.answers, strict=True)]
            for e, v in zip(evidence, votes, strict=True)
        ]
        harvest = gather(answers, verdicts, [pick for pick, _ in found], number)
        for row, ballot, (_, margin) in zip(harvest.rows, votes, found, strict=True):
            row |= {"agreement": ballot.agreement, "winner": ballot.winner, "evidence": margin}
        harvest.metrics |= _watched(votes, [margin for _, margin in found])
        return self.rounds.referred(harvest)

    def _evidence(self, answers: Sequence[Answers]) -> list[list[float]]:
        """e_k of every sample, nats a token."""
        groups, budget = [a.as_tokens() for a in answers], self.settings.token_budget
        flat = measure(self.parts.policy, groups, budget)
        if self.anchor is not None:
            before = measure(self.anchor(), groups, budget)
            flat = [mine - theirs for mine, theirs in zip(flat, before, strict=True)]
        table = []
        for a, values in zip(answers, flat, strict=True):
            ends = np.cumsum([len(s.ids) for s in a.samples])
            table.append([float(part.mean(dtype=np.float64)) for part in np.split(values, ends[:-1])])
        return table

    def _pick(self, answers: Answers, ballot: Vote, evidence: Sequence[float]) -> tuple[Pick | str, float | None]:
        """The pair, or why there is none; and the margin between winners and others, where there are both."""
        if ballot.winner is None:
            return ("silent" if not any(ballot.answers) else "level"), None
        winners, others = ballot.winners, ballot.others
        if not others:
            return "unanimous", None
        margin = statistics.fmean(evidence[i] for i in winners) - statistics.fmean(evidence[i] for i in others)
        whole = [i for i in winners if not answers.samples[i].truncated]
        if ballot.agreement < self.settings.agreement:
            return "split", margin
        if margin < self.settings.least_margin:
            return "doubted", margin
        if not whole:
            return "cut", margin
        chosen = max(whole, key=lambda i: (evidence[i], -i))
        rejected = min(others, key=lambda i: (evidence[i], i))
        return Pick(chosen, rejected, margin), margin


def _watched(votes: Sequence[Vote], margins: Sequence[float | None]) -> dict[str, float]:
    """What shows a drift: how far samples agree, how many vote at all, how often the witnesses disagree."""
    known = [m for m in margins if m is not None]
    voted = [a is not None for ballot in votes for a in ballot.answers]
    watched = {
        "vote/agreement": statistics.fmean(ballot.agreement for ballot in votes),
        "vote/unanimous": statistics.fmean(float(bool(b.winner) and not b.others) for b in votes),
        "vote/share": statistics.fmean(voted),
        "vote/distinct": statistics.fmean(len({a for a in b.answers if a is not None}) for b in votes),
    }
    if known:
        watched["vote/margin"] = statistics.fmean(known)
        watched["vote/contradicted"] = statistics.fmean(float(m < 0) for m in known)
    return watched
