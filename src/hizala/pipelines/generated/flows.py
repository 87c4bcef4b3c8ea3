"""The stages that make their own preferences: what each puts together before the same loop runs."""

from __future__ import annotations

from hizala.pipelines.context import StageContext
from hizala.pipelines.generated.discovered import Discoverer
from hizala.pipelines.generated.gate import HeldOut
from hizala.pipelines.generated.judges import judge_of
from hizala.pipelines.generated.loop import Maker, Rounds
from hizala.pipelines.generated.makers import Judged, Online, Spin
from hizala.pipelines.generated.parts import Parts
from hizala.pipelines.generated.settings import (
    IteratedSettings,
    OnlineDpoSettings,
    SelfDiscoveredSettings,
    SelfRewardingSettings,
    SpinSettings,
)


def online_dpo(context: StageContext) -> None:
    """Online DPO: sample, judge, train on the judged pair, every step.

    loss of the row (DPO: eq. 7 of Rafailov et al.) on (best, worst) of K samples of the policy as it stands, the
    reference being the policy this stage starts from.

    Raises:
        ConfigError, DataError, ModelError, TrainError, CheckpointError: as their parts say.
        KeyboardInterrupt: asked to stop; a checkpoint was written first.
    Source: Guo et al. 2024, arXiv:2402.04792, alg. 1 (two samples a prompt; here the best and the worst of K).
    Differs: TRL 1.16 (OnlineDPOTrainer) takes two samples and can penalise a missing end token in the judge's score;
        here a response that was cut can be rejected and is never chosen.
    """
    settings = context.stage.config
    assert isinstance(settings, OnlineDpoSettings)
    parts = Parts(context, settings)
    prompts = parts.prompts()
    maker = Online(parts, settings, prompts, judge_of(parts, settings))
    engine = parts.engine(settings.steps)
    save_every = settings.save_every or max(settings.steps // 10, 1)
    loop = Rounds(
        context, engine, parts.objective, maker,
        rounds=settings.steps, steps=None, batch_size=settings.batch_size, save_every=save_every,
    )  # fmt: skip
    loop.run()
    parts.finish(engine, loop.findings)


def self_rewarding(context: StageContext) -> None:
    """Self-rewarding: the policy answers, judges its own answers, and trains on its verdicts, iteration by iteration.

    iteration t: y_1 … y_K ~ pi_t(. | x);  chosen, rejected = argmax, argmin of pi_t's own judgement;
                 pi_{t+1} = argmin of the row's loss from pi_t, the reference being pi_t (or the start policy)

    Raises:
        ConfigError, DataError, ModelError, TrainError, CheckpointError: as their parts say.
        KeyboardInterrupt: asked to stop; a checkpoint was written first.
    Source: Yuan et al. 2024, arXiv:2401.10020, sec. 2.3 and 2.4. With judge `implicit`: Chen et al. 2024,
        arXiv:2406.09760, sec. 3.1, without its length penalty and replay.
    Differs: the paper samples three additive 0-5 verdicts and averages; here the expected grade is read from the
        verdict token's probabilities. The paper also writes new prompts; here prompts are data.
    """
    settings = context.stage.config
    assert isinstance(settings, SelfRewardingSettings)
    parts = Parts(context, settings)
    guard = HeldOut(parts, settings) if settings.gate else None
    prompts = parts.prompts(apart=guard.groups if guard else ())
    _iterate(parts, settings, Judged(parts, settings, prompts, judge_of(parts, settings)), guard)


def spin(context: StageContext) -> None:
    """SPIN: a demonstration is preferred to what the policy of the iteration before says to the same prompt.

    loss = l( lam [log pi(y|x) - log pi_t(y|x)] - lam [log pi(y'|x) - log pi_t(y'|x)] ),  y from the data, y' ~ pi_t
    with l(z) = log(1 + exp(-z)) this is the DPO loss with beta = lam and pi_t as reference

    Raises:
        ConfigError, DataError, ModelError, TrainError, CheckpointError: as their parts say.
        KeyboardInterrupt: asked to stop; a checkpoint was written first.
    Source: Chen et al. 2024, arXiv:2401.01335, eq. 4.7 and alg. 1.
    Differs: from the second iteration on the paper's experiments add the previous iteration's responses to the new
        ones (sec. 6.1); here each iteration trains on its own, as in alg. 1.
    """
    settings = context.stage.config
    assert isinstance(settings, SpinSettings)
    parts = Parts(context, settings)
    guard = HeldOut(parts, settings) if settings.gate else None
    prompts = parts.prompts("response", apart=guard.groups if guard else ())
    _iterate(parts, settings, Spin(parts, settings, prompts), guard)


def self_discovered(context: StageContext) -> None:
    """Self-discovered preferences: pairs on which the policy's own vote and its own implicit reward agree.

    Defined in docs/methods/self-discovered.md; every iteration has to pass a held-out check or is undone.

    Raises:
        ConfigError, DataError, ModelError, TrainError, CheckpointError: as their parts say.
        KeyboardInterrupt: asked to stop; a checkpoint was written first.
    Source: our own definition. Parts of it: the vote is that of Wang et al. 2022, arXiv:2203.11171; preferring the
        majority's answer is that of Prasad et al. 2024, arXiv:2411.04109; ranking own samples by the implicit reward
        is that of Chen et al. 2024, arXiv:2406.09760.
    """
    settings = context.stage.config
    assert isinstance(settings, SelfDiscoveredSettings)
    parts = Parts(context, settings)
    guard = HeldOut(parts, settings)
    prompts = parts.prompts(apart=guard.groups)
    _iterate(parts, settings, Discoverer(parts, settings, prompts), guard)


def _iterate(parts: Parts, settings: IteratedSettings, maker: Maker, guard: HeldOut | None) -> None:
    engine = parts.engine(settings.iterations * settings.steps)
    loop = Rounds(
        parts.context, engine, parts.objective, maker,
        rounds=settings.iterations, steps=settings.steps, batch_size=settings.batch_size,
        save_every=settings.save_every or max(settings.steps // 2, 1), guard=guard,
    )  # fmt: skip
    loop.run()
    parts.finish(engine, loop.findings)
