"""What every stage that makes its own preferences is made of: template, policy, prompts, engine, export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import cast

import numpy as np
from numpy.typing import NDArray

from hizala.engines.data.templates import ChatTemplate
from hizala.engines.policy import Policy, load
from hizala.engines.rollout.local import Decodable
from hizala.engines.train import Engine, Objective, World, measure
from hizala.errors import ConfigError
from hizala.pipelines.candidates import Asker, Prompt, read_prompts
from hizala.pipelines.context import ModelRef, StageContext
from hizala.pipelines.generated.settings import GeneratedSettings
from hizala.pipelines.material import load_template
from hizala.pipelines.progress import say, working
from hizala.pipelines.rundir import write_json
from hizala.pipelines.training import engine_settings, export_model, seed_all
from hizala.records import Finding, Group, TokenGroup


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
        seed_all(context.recipe.seed)
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

    @property
    def needs_reference(self) -> bool:
        """Whether the loss asks for log-probs under a reference."""
        return "reference" in self.objective.measures

    def measured(self, pairs: Sequence[TokenGroup], frozen: Policy | None = None) -> dict[str, NDArray[np.float32]]:
        """Group id -> (N_g,) nats of the counted tokens under `frozen`, else under the policy as it stands."""
        values = measure(frozen or self.policy, pairs, self.settings.token_budget)
        return {pair.id: v for pair, v in zip(pairs, values, strict=True)}

    def at_start(self, pairs: Sequence[TokenGroup], frozen: Policy | None) -> dict[str, NDArray[np.float32]]:
        """The same under the policy this stage started from: `frozen`, or the policy without its adapters."""
        if frozen is not None:
            return self.measured(pairs, frozen)
        with self.policy.reference():
            return self.measured(pairs)

    def start(self) -> Policy | None:
        """The policy this stage started from, opened beside the trained one; None where adapters make that needless."""
        return None if self.policy.has_adapters else self.open(self.context.model)

    def engine(self, total: int) -> Engine:
        """The engine of the stage's `total` optimiser steps."""
        return Engine(self.policy, engine_settings(self.settings, total, self.context.key))

    def finish(self, engine: Engine, findings: Sequence[Finding]) -> None:
        """Write the findings and the trained model, at once or not at all."""
        context = self.context
        every = [*self.findings, *findings]
        write_json(context.dir / "findings.json", {"findings": [asdict(finding) for finding in every]})
        export_model(context, self.policy, engine, beta=self.settings.beta)
