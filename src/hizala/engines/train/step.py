"""The engine: one step that measures, calls the losses, reduces once, clips and steps. It knows no algorithm."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from hizala.core.distribution import Distribution
from hizala.core.reduce import Layout, reduce
from hizala.core.schedule import factor
from hizala.engines.train import checkpoint, measuring, optim, state
from hizala.engines.train.heap import keep_freed_memory
from hizala.engines.train.objective import Objective, Part
from hizala.engines.train.reference import Reference
from hizala.engines.train.settings import Settings
from hizala.engines.train.tally import Tally, per_group
from hizala.engines.train.tensorfile import Entry
from hizala.engines.train.world import World, shard, whole
from hizala.errors import CheckpointError, TrainError
from hizala.protocols import Policy, Tree
from hizala.records import Finding, TokenGroup


@dataclass(frozen=True, slots=True)
class StepReport:
    """What one step did.

    Attributes:
        metrics: deterministic figures: `loss`, each loss's own as `loss_name/metric` averaged over the whole batch,
            `kl`, `grad_norm` (before clipping), `lr`, `tokens`, `skipped`.
        perf: what the machine did: `tokens_per_second`, `seconds`, `peak_memory_mb`.
    """

    metrics: dict[str, float]
    perf: dict[str, float]


class Engine:
    """Trains a policy. Under `torchrun` every process is given the same batches and takes its share of each.

    Args:
        policy: what is trained; sharded over the processes when there are several.
        settings: optimiser, schedule, budget, checkpoints.
        reference: a live reference, frozen or following the policy; None where stored log-probs serve.
        distribution: what responses were sampled from, and so what log-probs are of; None: the plain softmax.
    """

    def __init__(
        self,
        policy: Policy,
        settings: Settings,
        reference: Policy | None = None,
        distribution: Distribution | None = None,
    ) -> None:
        self.policy, self.settings, self.distribution = policy, settings, distribution
        self.reference = Reference(reference, settings) if reference is not None else None
        self.running: dict[str, dict[str, float]] = {}
        self.device = next(policy.module.parameters()).device
        if self.device.type == "cpu":
            keep_freed_memory()
        self.world = World.current()
        shard(policy.module, self.world, self.device.type)
        self.optimizer = optim.build(policy.module, settings)
        self._parameters = list(optim.trainable(policy.module).values())
        self.steps = 0
        self.skipped = 0
        self._skipped_in_a_row = 0
        self._frozen: str | None = None
        self._findings: list[Finding] = []

    @property
    def findings(self) -> list[Finding]:
        """What was noticed so far: steps skipped, checkpoints that could not be used."""
        if not self.skipped:
            return list(self._findings)
        message = f"{self.skipped} steps skipped because their gradient was not finite"
        return [*self._findings, Finding("nonfinite-gradient", "warning", message, count=self.skipped)]

    def step(
        self,
        groups: Sequence[TokenGroup],
        objective: Objective,
        columns: measuring.Columns | None = None,
        mismatched: Sequence[TokenGroup] = (),
    ) -> StepReport:
        """One optimiser step on a whole batch.

        Args:
            groups: the global batch, the same on every process.
            objective: what to minimise.
            columns: name -> group id -> (N_g,) what was measured before, one value a counted token.
            mismatched: prompts of the batch with responses to other prompts, where a loss asks for `mismatch`.
        Raises:
            TrainError: the batch does not fit the objective, or gradients stay non-finite.
        """
        started = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        tally = self.accumulate(groups, objective, columns, mismatched)
        gradients = optim.gradients(self._parameters)
        tally.add("squared_norm", optim.squared_norm(gradients, self.device), count=1)
        sums, counts = tally.read(self.world)
        norm = math.sqrt(sums.pop("squared_norm"))
        metrics = {name: value / (counts[name] or 1.0) for name, value in sums.items()} | tally.peaks(self.world)
        if "mismatch/ess" in metrics:
            # (sum w)^2 / (N sum w^2): the share of the tokens that as many equally weighed ones would be.
            metrics["mismatch/ess"] = metrics.pop("mismatch/weight") ** 2 / (metrics["mismatch/ess"] or 1.0)
        lr = self._learning_rate()
        usable = math.isfinite(norm) and math.isfinite(metrics["loss"])
        if usable:
            self._apply(gradients, norm, lr)
            self._follow(objective, metrics)
        tokens = sum(group.tokens for group in groups)
        metrics |= {"grad_norm": norm, "lr": lr, "tokens": float(tokens), "skipped": float(not usable)}
        self._count(usable, metrics["loss"])
        seconds = time.perf_counter() - started
        perf = {"tokens_per_second": tokens / seconds, "seconds": seconds, "peak_memory_mb": _peak_memory(self.device)}
        return StepReport(metrics, perf)

    def accumulate(
        self,
        groups: Sequence[TokenGroup],
        objective: Objective,
        columns: measuring.Columns | None = None,
        mismatched: Sequence[TokenGroup] = (),
    ) -> Tally:
        """Add the gradient of the batch's loss to the parameters; the metrics it met on the way.

        Processes with fewer forwards than others repeat one at weight 0, so that their collectives meet.
        """
        self.policy.module.train()
        _check_batch(groups, objective)
        denominator = objective.denominators(Layout.of(groups))
        tally = Tally()
        measure = self._measurer(objective, columns or {}, mismatched)
        for tree, live in self._rounds(groups, objective):
            measured = measure(tree)
            layout = Layout.of(tree.groups)
            total: Tensor | float = 0.0
            for part in objective.parts:
                terms = part.call(*measured.arguments(part, self._running(part)))
                share = reduce(terms, layout, part.reduction_of(terms), denominator(part, terms))
                total = total + part.weight * share
                tally.add(f"{part.loss.name}/loss", share, count=0, live=live)
                for name, metric in terms.metrics.items():
                    tally.add(f"{part.loss.name}/{name}", metric, live=live)
            assert isinstance(total, Tensor)
            tally.add("loss", total, count=0, live=live)
            away = measured.distance
            if away is not None:
                tally.add("kl", away, live=live)
            gap = measured.gap
            if gap is not None:
                tally.compare(gap, live=live)
            if "outside" in measured.values:
                tally.add("mismatch/outside", measured.values["outside"], live=live)
            (total if live else total * 0.0).backward()  # type: ignore[no-untyped-call]
        return tally

    @torch.no_grad()
    def evaluate(
        self,
        groups: Sequence[TokenGroup],
        objective: Objective,
        columns: measuring.Columns | None = None,
        mismatched: Sequence[TokenGroup] = (),
    ) -> dict[str, NDArray[np.float64]]:
        """The objective's metrics on groups that are not trained on, one value a group.

        What a loss gives per token is averaged within each group, so that a group is one unit of an interval; a
        group without a counted token is left out of those figures.

        Returns:
            metric -> (G,), groups in order.
        """
        self.policy.module.eval()
        _check_batch(groups, objective)
        parts: list[dict[str, NDArray[np.float64]]] = []
        measure = self._measurer(objective, columns or {}, mismatched)
        for tree, live in self._rounds(groups, objective):
            measured = measure(tree)
            terms = [part.call(*measured.arguments(part, self._running(part))) for part in objective.parts]
            if live:
                parts.append(per_group(Layout.of(tree.groups), objective, terms, measured))
        self.policy.module.train()
        mine = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}
        gathered = self.world.gather((self._share(groups), mine))
        table: dict[str, NDArray[np.float64]] = {}
        for indices, rows in gathered:
            for name, row in rows.items():
                table.setdefault(name, np.full(len(groups), np.nan))[indices] = row
        return {name: row[~np.isnan(row)] for name, row in table.items()}

    def _measurer(
        self, objective: Objective, columns: measuring.Columns, mismatched: Sequence[TokenGroup]
    ) -> Callable[[Tree], measuring.Measured]:
        """How each forward of a batch is measured; what is known of the whole batch is measured here."""
        live = self.reference.policy if self.reference else None
        mismatch = self._mismatch(columns, mismatched) if "mismatch" in objective.measures else None

        def measure(tree: Tree) -> measuring.Measured:
            names = objective.measures
            return measuring.forward(
                self.policy,
                tree,
                names,
                columns,
                reference=live,
                mismatch=mismatch,
                distribution=self.distribution,
            )

        return measure

    def _mismatch(self, columns: measuring.Columns, mismatched: Sequence[TokenGroup]) -> Tensor:
        """Mean log-ratio of responses to other prompts over the whole batch, nats."""
        if not mismatched:
            raise TrainError("a loss asks for mismatched responses, but none were given")
        live = self.reference.policy if self.reference else None
        mine = [mismatched[index] for index in self.world.share([1] * len(mismatched))]
        training = self.policy.module.training
        self.policy.module.eval()
        total, count = measuring.log_ratios(self.policy, mine, columns, self.settings.token_budget, live)
        self.policy.module.train(training)
        sums = self.world.add(torch.tensor([total, count], dtype=torch.float64, device=self.device))
        return (sums[0] / sums[1].clamp(min=1)).float()

    def _running(self, part: Part) -> Mapping[str, float]:
        """Running statistics of a loss before this step; 0 at the first."""
        return self.running.setdefault(part.loss.name, dict.fromkeys(part.loss.running, 0.0))

    def _follow(self, objective: Objective, metrics: Mapping[str, float]) -> None:
        """After a step: running statistics follow their metrics, a live reference the policy."""
        for part in objective.parts:
            kept = dict(self._running(part))
            for name, metric in part.loss.running.items():
                decay = part.params["decay"]
                kept[name] = decay * kept[name] + (1 - decay) * metrics[f"{part.loss.name}/{metric}"]
            self.running[part.loss.name] = kept
        if self.reference is not None:
            self.reference.follow(self.policy, self.steps + 1)

    def measure(self, groups: Sequence[TokenGroup]) -> list[NDArray[np.float32]]:
        """Log-probs of the counted tokens of each group under the policy as it stands, without gradient.

        Returns:
            One (N_g,) array a group, nats; every process gets all of them.
        """
        return measuring.measure(self.policy, groups, self.settings.token_budget, distribution=self.distribution)

    def whole(self) -> AbstractContextManager[None]:
        """While open, every process holds all of the policy's parameters, so that it can be written."""
        return whole(self.policy.module)

    def save(self, root: Path, extra_state: Mapping[str, Any] | None = None, *, best: bool = False) -> Path | None:
        """Write a checkpoint under `root`, then remove those that are no longer kept.

        Args:
            root: directory of this run's checkpoints.
            extra_state: what else to keep (data position, log offsets): dicts, lists, numbers, text, arrays, tensors.
            best: keep it as the best so far, beside the newest ones.
        Returns:
            Where it stands; None on all processes but the first.
        Raises:
            CheckpointError: it cannot be written; the older ones are untouched.
        """
        module, kind = self.policy.module, "best" if best else "step"
        extra_tensors: list[Entry] = []
        document = {
            "steps": self.steps,
            "skipped": self.skipped,
            "skipped_in_a_row": self._skipped_in_a_row,
            "frozen": self._frozen_digest(),
            "running": self.running,
            "random": self.world.gather(state.random_states()),
            "extra": state.encode(dict(extra_state or {}), extra_tensors),
        }
        tensors = {
            "weights.safetensors": state.weights(module),
            "optimizer.safetensors": state.moments(module, self.optimizer),
            "extra.safetensors": extra_tensors,
        }
        if self.reference is not None and self.reference.moves:
            tensors["reference.safetensors"] = state.everything(self.reference.policy.module)
        entries = [entry for group in tensors.values() for entry in group]
        path, failure = None, None
        if self.world.first:
            try:
                path = checkpoint.write(
                    root,
                    kind,
                    self.steps,
                    tensors=tensors,
                    documents={"state.json": document},
                    identity=self.settings.identity,
                )
                checkpoint.prune(root, kind, 1 if best else self.settings.keep_last)
            except CheckpointError as error:
                failure = error
        for entry in entries:
            entry.attend()
        failure = self.world.gather(failure)[0]
        if failure is not None:
            raise failure
        return path

    def load(self, root: Path, *, best: bool = False, at: int | None = None) -> dict[str, Any] | None:
        """Continue from the newest undamaged checkpoint under `root`, on this or another number of processes.

        A damaged one is passed over with a finding.

        Args:
            root: directory of this run's checkpoints.
            best: the one kept as the best.
            at: the one written after so many steps, and no other.
        Returns:
            The extra state it was written with; None where there is no checkpoint.
        Raises:
            CheckpointError: all are damaged, or the newest belongs to another run.
        """
        path = self._choose(root, "best" if best else None, at)
        if path is None:
            return None
        where, module = str(path), self.policy.module
        document = checkpoint.read_json(path / "state.json")
        if document["frozen"] != self._frozen_digest():
            raise CheckpointError("the frozen weights are not those it was trained on", where=where, fix=state.FOREIGN)
        state.restore_weights(module, load_file(path / "weights.safetensors"), where)
        state.restore_moments(module, self.optimizer, load_file(path / "optimizer.safetensors"), where)
        self.steps, self.skipped = document["steps"], document["skipped"]
        self._skipped_in_a_row = document["skipped_in_a_row"]
        self.running = document["running"]
        if self.reference is not None and self.reference.moves:
            held = load_file(path / "reference.safetensors")
            state.restore_everything(self.reference.policy.module, held, where)
        states = document["random"]
        state.restore_random_states(states[min(self.world.rank, len(states) - 1)])
        extra: dict[str, Any] = state.decode(document["extra"], load_file(path / "extra.safetensors"))
        return extra

    def _choose(self, root: Path, kind: str | None, at: int | None) -> Path | None:
        """The checkpoint to continue from, chosen by the first process for all."""
        chosen: Path | CheckpointError | None = None
        if self.world.first:
            try:
                chosen = checkpoint.choose(root, kind, self.settings.identity, self._notice, at=at)
            except CheckpointError as error:
                chosen = error
        chosen = self.world.gather(chosen)[0]
        if isinstance(chosen, CheckpointError):
            raise chosen
        return chosen

    def _notice(self, error: CheckpointError) -> None:
        message = f"{error.message}; an older checkpoint is used"
        self._findings.append(Finding("damaged-checkpoint", "warning", message, where=error.where))

    def _frozen_digest(self) -> str:
        if self._frozen is None:
            self._frozen = state.frozen_digest(self.policy.module)
        return self._frozen

    def _share(self, groups: Sequence[TokenGroup]) -> list[int]:
        return self.world.share([group.tokens for group in groups])

    def _rounds(self, groups: Sequence[TokenGroup], objective: Objective) -> Iterator[tuple[Tree, bool]]:
        """This process's forwards, then repeats (False) until every process has had as many."""
        mine = [groups[index] for index in self._share(groups)]
        trees = self.policy.pack(mine, self.settings.token_budget) if mine else []
        every = self.world.gather(len(trees))
        objective.check_split(sum(every))
        yield from ((tree, True) for tree in trees)
        missing = max(every) - len(trees)
        if missing:
            least = min(groups, key=lambda group: group.tokens)
            yield from [(self.policy.pack([least], self.settings.token_budget)[0], False)] * missing

    def _learning_rate(self) -> float:
        settings = self.settings
        return settings.learning_rate * factor(
            self.steps,
            settings.total_steps,
            kind=settings.schedule,
            warmup=settings.warmup_steps,
            decay=settings.decay_steps,
            floor=settings.floor or 0.0,
        )

    def _apply(self, gradients: list[Tensor], norm: float, lr: float) -> None:
        limit = self.settings.max_grad_norm
        if limit is not None and norm > limit:
            torch._foreach_mul_(gradients, limit / norm)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()

    def _count(self, usable: bool, loss: float) -> None:
        self.steps += 1
        self._skipped_in_a_row = 0 if usable else self._skipped_in_a_row + 1
        self.skipped += not usable
        if self._skipped_in_a_row >= self.settings.nonfinite_limit:
            raise TrainError(
                f"{self._skipped_in_a_row} steps in a row had a non-finite gradient (loss {loss})",
                where=f"step {self.steps}",
                fix="lower learning_rate, or look for a broken batch or a damaged model",
            )


def _check_batch(groups: Sequence[TokenGroup], objective: Objective) -> None:
    """Every group holds what the objective's losses take."""
    if not groups:
        raise TrainError("the batch is empty")
    for group in groups:
        if objective.data == "pair" and len(group.responses) != 2:
            raise TrainError(
                f"'{objective.name}' takes pairs, but a group has {len(group.responses)} responses",
                where=f"group {group.id}",
            )
        if objective.data == "ranking" and len(group.responses) < 2:
            raise TrainError(f"'{objective.name}' takes rankings, but a group has one response", where=group.id)


def _peak_memory(device: torch.device) -> float:
    """Largest memory so far, MB: the allocator's on a GPU, the process's on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
