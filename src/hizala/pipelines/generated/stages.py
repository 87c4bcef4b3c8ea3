"""The stages that make their own preferences: what each puts together before the same loop runs."""

from __future__ import annotations

import random
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from typing import cast

import numpy as np
import torch

from hizala.engines.data.templates import ChatTemplate
from hizala.engines.policy import Policy, load
from hizala.engines.rollout.local import Decodable
from hizala.engines.train import Engine, Objective, Settings, World, measure
from hizala.errors import ConfigError
from hizala.pipelines.context import ModelRef, StageContext
from hizala.pipelines.generated.candidates import Asker, Prompt, read_prompts
from hizala.pipelines.generated.judges import GoldJudge, ImplicitJudge, Judge, earlier
from hizala.pipelines.generated.loop import Rounds
from hizala.pipelines.generated.pairs import Harvest, extremes, gather
from hizala.pipelines.generated.settings import GeneratedSettings, OnlineDpoSettings
from hizala.pipelines.material import Batches, load_template
from hizala.pipelines.progress import say, working
from hizala.pipelines.rundir import model_digest, write_json
from hizala.records import Finding, Group


def online_dpo(context: StageContext) -> None:
    """Online DPO: sample, judge, train on the judged pair, every step.

    loss of the row (DPO: eq. 7 of Rafailov et al.) on (best, worst) of K samples of the policy as it stands, the
    reference being the policy this stage starts from.

    Raises:
        ConfigError, DataError, ModelError, TrainError, CheckpointError: as their parts say.
        KeyboardInterrupt: asked to stop; a checkpoint was written first.
    Source: Guo et al. 2024, arXiv:2402.04792, alg. 1 (two samples a prompt; here the best and the worst of K).
    Differs: TRL 1.16 (OnlineDPOTrainer) takes two samples and penalises missing end tokens in the judge's score; here
        a response that was cut can be rejected and never chosen.
    """
    settings = context.stage.config
    assert isinstance(settings, OnlineDpoSettings)
    parts = Parts(context, settings)
    prompts = parts.prompts()
    judge = judge_of(parts, settings.judge, settings.anchor)
    maker = _Online(parts, settings, prompts, judge)
    save_every = settings.save_every or max(settings.steps // 10, 1)
    engine = parts.engine(settings.steps)
    loop = Rounds(
        context, engine, parts.objective, maker,
        rounds=settings.steps, steps=None, batch_size=settings.batch_size, save_every=save_every,
    )  # fmt: skip
    loop.run()
    parts.finish(engine, loop.findings)


class Parts:
    """What every such stage is made of: template, policy, prompts, reference, engine.

    Args:
        context: of the stage.
        settings: of the stage.
    Raises:
        ConfigError: several processes, or a loss that asks for more than pairs can give here.
    """

    def __init__(self, context: StageContext, settings: GeneratedSettings) -> None:
        if World.current().size > 1:
            raise ConfigError(
                f"'{context.stage.kind}' samples from the policy it trains and runs in one process",
                where=f"stages.{context.stage.name}",
                fix="start it without torchrun",
            )
        self.context, self.settings = context, settings
        _seed(context.recipe.seed)
        with working("chat template proven"):
            self.template: ChatTemplate = load_template(context.model.path, settings.template)
        self.objective: Objective = settings.objective()
        self.policy = self.open(context.model, trained=True)
        # What `load` opens can generate.
        self.asker = Asker(cast(Decodable, self.policy), self.template, settings, context.recipe.seed)
        self.findings: list[Finding] = []
        if context.ledger is not None:
            context.ledger.append("policy", {"stage": context.stage.name, **self.policy.facts})

    def open(self, model: ModelRef, *, trained: bool = False) -> Policy:
        """A model's policy: the one that is trained, or one that is only measured."""
        settings = self.settings
        with working(f"model {model.name} loaded"):
            policy = load(
                model.path,
                dtype=settings.dtype,
                device=self.context.device,
                lora=settings.lora.for_policy() if settings.lora and trained else None,
                checkpointing=settings.checkpointing and trained,
            )
        if not trained:
            policy.module.requires_grad_(False)
            policy.module.eval()
        return policy

    def prompts(self, shape: str = "prompt", apart: Sequence[Group] = ()) -> list[Prompt]:
        """The prompts of the stage's data; see `read_prompts`."""
        found, findings = read_prompts(self.settings, self.template, shape=shape, apart=apart)
        self.findings += findings
        say(f"  data: {len(found)} prompts")
        if self.context.ledger is not None:
            self.context.ledger.append("data", {"stage": self.context.stage.name, "prompts": len(found)})
        return found

    def engine(self, total: int) -> Engine:
        """The engine of the stage's `total` optimiser steps."""
        given = self.settings
        return Engine(
            self.policy,
            Settings(
                learning_rate=given.learning_rate,
                schedule=given.schedule,
                warmup=given.warmup,
                weight_decay=given.weight_decay,
                betas=given.adam_betas,
                max_grad_norm=given.max_grad_norm,
                token_budget=given.token_budget,
                total_steps=total,
                nonfinite_limit=given.nonfinite_limit,
                keep_last=given.keep_last,
                identity=self.context.key,
            ),
        )

    def finish(self, engine: Engine, findings: Sequence[Finding]) -> None:
        """Write the findings and the trained model, at once or not at all."""
        context = self.context
        every = [*self.findings, *findings]
        write_json(context.dir / "findings.json", {"findings": [asdict(finding) for finding in every]})
        target, partial_ = context.dir / "model", context.dir / ".model.partial"
        shutil.rmtree(partial_, ignore_errors=True)
        self.policy.save(partial_)
        shutil.rmtree(target, ignore_errors=True)
        partial_.rename(target)
        beta = self.settings.beta
        model = ModelRef(context.stage.name, target, model_digest(target), context.model.name, beta)
        context.outputs["model"] = {"name": model.name, "digest": model.digest, "parent": model.parent, "beta": beta}
        context.models[model.name] = model


def judge_of(parts: Parts, name: str, anchor: str | None) -> Judge:
    """The judge that a setting names."""
    if name == "gold":
        return GoldJudge()
    if name == "implicit":
        opened = partial(parts.open, earlier(parts.context, anchor))
        return ImplicitJudge(parts.policy, opened, parts.settings.beta or 0.1, parts.settings.token_budget)
    raise ConfigError(f"unknown judge '{name}'", where=f"stages.{parts.context.stage.name}.judge")


class _Online:
    """Pairs of one step: the next prompts, K samples each, the judge's best and worst, the frozen reference's view."""

    def __init__(self, parts: Parts, settings: OnlineDpoSettings, prompts: Sequence[Prompt], judge: Judge) -> None:
        self.parts, self.settings, self.prompts, self.judge = parts, settings, prompts, judge
        self.batches = Batches(len(prompts), settings.batch_size, parts.context.recipe.seed)
        needed = "reference" in parts.objective.measures
        self.frozen = parts.open(parts.context.model) if needed and not parts.policy.has_adapters else None

    def harvest(self, number: int) -> Harvest:
        """The pairs of step `number`."""
        prompts = [self.prompts[i] for i in self.batches[number]]
        answers = self.parts.asker.ask(prompts, self.settings.samples, number)
        verdicts = self.judge.score(answers, number)
        picks = [extremes(a, v, self.settings.margin) for a, v in zip(answers, verdicts, strict=True)]
        harvest = gather(answers, verdicts, picks, number)
        if harvest.pairs and "reference" in self.parts.objective.measures:
            budget = self.settings.token_budget
            if self.frozen is not None:
                values = measure(self.frozen, harvest.pairs, budget)
            else:
                with self.parts.policy.reference():
                    values = measure(self.parts.policy, harvest.pairs, budget)
            harvest.reference = {pair.id: v for pair, v in zip(harvest.pairs, values, strict=True)}
        return harvest


def _seed(seed: int) -> None:
    """Every source of random numbers follows from the recipe's seed: fresh adapters, dropout, libraries."""
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
