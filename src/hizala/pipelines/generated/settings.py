"""What stages that make their own preferences can be told."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from hizala.algorithms import Algorithm, algorithms
from hizala.config import Strict
from hizala.engines.train import Objective
from hizala.engines.train.objective import parameters
from hizala.errors import HizalaError
from hizala.pipelines.judgements import KINDS
from hizala.pipelines.settings import OptimiserSettings
from hizala.registry import losses

JUDGES = ("gold", "implicit", "reward:NAME or DIRECTORY", *(f"text:{kind}" for kind in KINDS))
WEIGHT = "_weight"


class GeneratedSettings(OptimiserSettings):
    """Settings common to every stage that makes its own preferences."""

    temperature: Annotated[float, Field(gt=0, description="temperature that responses are sampled with")] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1, description="mass of the nucleus responses are sampled from")] = 1.0
    max_tokens: Annotated[int, Field(ge=1, description="most tokens of a sampled response")] = 96
    algorithm: Annotated[
        str, Field(description="row of the table whose loss the pairs train: dpo, ipo, simpo and other rows of pairs")
    ] = "dpo"
    parameters: Annotated[
        dict[str, float | str | bool],
        Field(description="parameters of the row's losses by name, and LOSS_weight for its weights"),
    ] = {}  # noqa: RUF012 (settings are frozen and copied)
    batch_size: Annotated[int, Field(ge=1, description="prompts (online) or pairs in one optimiser step")] = 32
    learning_rate: Annotated[float, Field(gt=0, lt=10, description="peak learning rate of AdamW")] = 5e-5

    @model_validator(mode="after")
    def _trainable(self) -> GeneratedSettings:
        self.objective()
        return self

    # What a loss may ask for: a stored reference has no distribution over the vocabulary.
    measured: ClassVar[tuple[str, ...]] = ("policy", "reference", "collision", "margins")

    @property
    def refs(self) -> tuple[str, ...]:
        """What the stage reads besides its data: the references of its gates, a judge's directory."""
        judge = getattr(self, "judge", "")
        directory = judge.removeprefix("reward:") if judge.startswith("reward:") else ""
        return (*(ref for _, ref in getattr(self, "gates", ())), *([directory] if directory else []))

    @property
    def row(self) -> Algorithm:
        """The row of the table whose losses the pairs train.

        Raises:
            ValueError: it is unknown, or does not take pairs of a policy's responses.
        """
        try:
            row = algorithms.get(self.algorithm)
        except HizalaError as error:
            raise ValueError(error.message) from error
        if row.data != "pair" or getattr(row, "produces", "policy") != "policy":
            fits = [r.name for r in algorithms if r.data == "pair" and getattr(r, "produces", "policy") == "policy"]
            raise ValueError(f"'{row.name}' does not train a policy on pairs; rows that do: {', '.join(fits)}")
        return row

    def objective(self) -> Objective:
        """The row's losses with the stage's parameters over the row's own.

        Raises:
            ValueError: a parameter is unknown, out of bounds or without effect.
        """
        row = self.row
        own = {name for loss in row.losses for name in parameters(losses.get(loss))}
        given = {**{name: value for name, value in row.defaults.items() if name in own}, **self.parameters}
        weights = {loss: float(given.pop(loss + WEIGHT)) for loss in row.losses if loss + WEIGHT in given}
        try:
            objective = Objective.of(row, given, weights=weights, reduction=row.defaults.get("reduction"))
        except HizalaError as error:
            raise ValueError(error.message) from error
        for name in objective.measures:
            if name not in self.measured:
                raise ValueError(f"'{row.name}' asks for '{name}', which the pairs of this stage do not have")
        return objective

    @property
    def beta(self) -> float | None:
        """Scale of the implicit reward that the loss trains, per nat; None where it has none."""
        for part in self.objective().parts:
            known = parameters(part.loss)
            if "reference" in part.loss.measures and "beta" in known:
                default = self.row.defaults.get("beta", known["beta"].default)
                return float(self.parameters.get("beta", default))
        return None


class Judged(Strict):
    """How a stage's candidates are judged."""

    judge: Annotated[
        str,
        Field(
            description="who says what is better: gold (the embedded world's truth), implicit, reward:NAME, text:KIND"
        ),
    ] = "gold"
    anchor: Annotated[
        str | None,
        Field(description="implicit judge: the earlier model its reward is measured against; default: the parent"),
    ] = None
    judge_model: Annotated[
        str | None, Field(description="text judge: the earlier model that judges; default: the policy itself")
    ] = None
    judge_style: Annotated[
        Literal["short", "full"],
        Field(description="text judge: 'full' spells the criteria out, 'short' fits small models that learnt to judge"),
    ] = "short"
    margin: Annotated[float, Field(ge=0, description="least difference of the scores of a pair's two sides")] = 0.0
    samples: Annotated[int, Field(ge=2, description="responses sampled for each prompt")] = 4

    @field_validator("judge")
    @classmethod
    def _known(cls, judge: str) -> str:
        kind, _, rest = judge.partition(":")
        if not (judge in ("gold", "implicit") or (kind == "reward" and rest) or (kind == "text" and rest in KINDS)):
            raise ValueError(f"unknown judge '{judge}'; known: {', '.join(JUDGES)}")
        return judge

    @model_validator(mode="after")
    def _no_idle_judge(self) -> Judged:
        text = self.judge.startswith("text:")
        for name, used in (("anchor", self.judge == "implicit"), ("judge_model", text), ("judge_style", text)):
            if not used and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has no effect with judge '{self.judge}'")
        return self


class Gated(Strict):
    """The held-out check that every iteration has to pass."""

    gate: Annotated[
        str | list[str] | None,
        Field(
            description="what must not get worse: gold:REF (prompts of the embedded world, their true reward) or "
            "pairs:REF (people's preferences, ranked by likelihood a token); an iteration that falls is undone"
        ),
    ] = None
    gate_tolerance: Annotated[
        float, Field(ge=0, description="fall below the start that is let pass even where it is beyond doubt")
    ] = 0.0
    gate_length: Annotated[
        float | None,
        Field(gt=0, description="gold gate: greatest change of the mean response length, as a share of the start's"),
    ] = None

    @field_validator("gate")
    @classmethod
    def _gates(cls, gate: str | list[str] | None) -> str | list[str] | None:
        for one in [gate] if isinstance(gate, str) else gate or []:
            kind, _, ref = one.partition(":")
            if kind not in ("gold", "pairs") or not ref:
                raise ValueError(f"unknown gate '{one}'; write gold:REF or pairs:REF")
        return gate

    @property
    def gates(self) -> tuple[tuple[str, str], ...]:
        """Kind and reference of each gate."""
        each = [self.gate] if isinstance(self.gate, str) else self.gate or []
        return tuple((one.partition(":")[0], one.partition(":")[2]) for one in each)

    @model_validator(mode="after")
    def _no_idle_gate(self) -> Gated:
        if not self.gates and (self.gate_tolerance or self.gate_length):
            raise ValueError("gate_tolerance and gate_length have no effect without a gate")
        if self.gate_length and all(kind != "gold" for kind, _ in self.gates):
            raise ValueError("gate_length has no effect: only a gold gate samples responses")
        return self


class OnlineDpoSettings(GeneratedSettings, Judged):
    """Online DPO: every step samples responses from the policy as it stands and learns from a judge's choice."""

    steps: Annotated[int, Field(ge=1, description="steps: each samples, judges and trains once")] = 60


class IteratedSettings(GeneratedSettings, Gated):
    """Stages that alternate between making pairs and training on them."""

    iterations: Annotated[int, Field(ge=1, description="rounds of making pairs and training on them")] = 3
    prompts: Annotated[int, Field(ge=1, description="prompts answered in each iteration")] = 256
    steps: Annotated[int, Field(ge=1, description="optimiser steps in each iteration")] = 20
    reference: Annotated[
        Literal["iteration", "start"],
        Field(description="reference of the loss: the policy at the start of the iteration, or of the stage"),
    ] = "iteration"


class SelfRewardingSettings(IteratedSettings, Judged):
    """Self-rewarding: the policy judges its own responses and learns from its verdicts, again and again."""

    judge: Annotated[str, Field(description="how the policy judges itself: text:KIND or implicit")] = "text:pointwise"

    @model_validator(mode="after")
    def _itself(self) -> SelfRewardingSettings:
        if self.judge == "gold" or self.judge.startswith("reward:"):
            raise ValueError(f"judge '{self.judge}' is not the policy itself; use online_dpo for it")
        if self.judge_model is not None:
            raise ValueError("judge_model has no effect: the policy judges itself; use online_dpo for another judge")
        return self


class SpinSettings(IteratedSettings):
    """SPIN: demonstrations are preferred to what the policy of the iteration before says instead."""

    measured: ClassVar[tuple[str, ...]] = ("policy", "reference", "collision")

    @model_validator(mode="after")
    def _as_published(self) -> SpinSettings:
        if self.reference != "iteration":
            raise ValueError("the reference of SPIN is the policy at the start of the iteration")
        return self


class SelfDiscoveredSettings(IteratedSettings):
    """Self-discovered preferences: pairs on which the policy's own vote and its own implicit reward agree."""

    samples: Annotated[int, Field(ge=3, description="responses sampled for each prompt")] = 8
    answer: Annotated[
        Literal["marked", "number", "text"],
        Field(description="what is voted on: the answer behind its mark, the last number, or the whole text"),
    ] = "marked"
    agreement: Annotated[
        float, Field(gt=0, le=1, description="least share of the K samples that give the winning answer")
    ] = 0.5
    evidence: Annotated[
        Literal["implicit", "likelihood"],
        Field(description="the second witness: log-ratio to an earlier model, or likelihood, each a token"),
    ] = "implicit"
    anchor: Annotated[
        str | None,
        Field(description="implicit: the earlier model of the log-ratio; default: what the policy was trained from"),
    ] = None
    least_margin: Annotated[
        float, Field(ge=0, description="least margin of the winners over the others, nats a token")
    ] = 0.0
    reference: Annotated[
        Literal["iteration", "start"],
        Field(description="reference of the loss: the policy at the start of the iteration, or of the stage"),
    ] = "start"

    @model_validator(mode="after")
    def _witnessed(self) -> SelfDiscoveredSettings:
        if not self.gates:
            raise ValueError("self_discovered needs a gate: without one it can drift unseen")
        if self.anchor is not None and self.evidence != "implicit":
            raise ValueError("anchor has no effect with evidence 'likelihood'")
        return self
