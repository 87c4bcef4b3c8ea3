"""From process start to the first optimisation step, and what importing and asking for help cost.

Ours and TRL's `DPOTrainer` each start a fresh process that reads preference pairs, loads model and tokenizer and
makes one DPO step of eight pairs; runs take turns, the median counts. Ours is timed as a script over the Python
interface and as `hizala run` up to the first row of its metrics. The last line of the output is one JSON object.

    python benchmarks/startup.py --runs 5
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench_common import Clock, say, table

PAIRS = 8
TARGETS = {"first_step": 3.5, "import": 0.15, "help": 0.4}


def child_ours(model: Path, pairs: Path) -> None:
    """Read, prove the template, load, measure the reference, one step."""
    import torch

    torch.set_num_threads(1)
    from hizala.algorithms import algorithms
    from hizala.engines.data import read
    from hizala.engines.data.templates import ChatTemplate
    from hizala.engines.policy import load
    from hizala.engines.train import Engine, Objective, Settings

    template = ChatTemplate.load(model)
    template.prove()
    groups = [template.encode_group(group, max_length=512) for group in read(str(pairs))]
    policy = load(model)
    engine = Engine(policy, Settings(learning_rate=1e-5, total_steps=1))
    column = {group.id: logps for group, logps in zip(groups, engine.measure(groups), strict=True)}
    report = engine.step(groups, Objective.of(algorithms.get("dpo")), {"reference": column})
    print(json.dumps({"loss": report.metrics["loss"]}), flush=True)


def child_trl(model: Path, pairs: Path) -> None:
    """The same with TRL in float32."""
    import torch

    torch.set_num_threads(1)
    from datasets import Dataset
    from transformers import AutoTokenizer, TrainerCallback
    from trl import DPOConfig, DPOTrainer

    class Say(TrainerCallback):
        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if logs and "loss" in logs:
                print(json.dumps({"loss": logs["loss"]}), flush=True)

    rows = [json.loads(line) for line in pairs.read_text(encoding="utf-8").splitlines()]
    with tempfile.TemporaryDirectory() as out:
        config = DPOConfig(
            output_dir=out, per_device_train_batch_size=PAIRS, max_steps=1, max_length=512, bf16=False, logging_steps=1,
            gradient_checkpointing=False, save_strategy="no", report_to=[], disable_tqdm=True, use_cpu=True,
            dataloader_pin_memory=False,
        )  # fmt: skip
        DPOTrainer(
            model=str(model),
            args=config,
            train_dataset=Dataset.from_list(rows),
            processing_class=AutoTokenizer.from_pretrained(model),
            callbacks=[Say()],
        ).train()


def until(command: Sequence[str], seen: Callable[[subprocess.Popen[str]], bool]) -> dict[str, float]:
    """Seconds from the start of a process until something is seen, and the cores others used meanwhile."""
    with tempfile.TemporaryFile("w+") as errors:
        clock = Clock()
        process = subprocess.Popen(list(command), stdout=subprocess.PIPE, stderr=errors, text=True, env=environment())
        found = seen(process)
        wall = time.perf_counter() - clock.wall
        process.communicate()
        sample = clock.read()
        if not found:
            errors.seek(0)
            raise RuntimeError(f"{' '.join(command[:4])} ... ended early:\n{errors.read()[-2000:]}")
    return {"seconds": wall, "other": sample["other"]}


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}


def loss_printed(process: subprocess.Popen[str]) -> bool:
    """The child printed its first loss."""
    assert process.stdout is not None
    return any(line.startswith('{"loss"') for line in process.stdout)


def row_written(folder: Path) -> Callable[[subprocess.Popen[str]], bool]:
    """`hizala run` wrote its first row of metrics."""

    def seen(process: subprocess.Popen[str]) -> bool:
        while process.poll() is None:
            if any(path.stat().st_size for path in folder.rglob("metrics.jsonl")):
                return True
            time.sleep(0.005)
        return any(path.stat().st_size for path in folder.rglob("metrics.jsonl"))

    return seen


def finished(process: subprocess.Popen[str]) -> bool:
    """The process ended well."""
    return process.wait() == 0


def import_seconds(statement: str) -> tuple[float, bool]:
    """Seconds of an import by -X importtime (its own account, interpreter start left out), and whether torch came."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", f"import time; t = time.perf_counter(); {statement}; "
         "import sys; print(time.perf_counter() - t, 'torch' in sys.modules)"],
        capture_output=True, text=True, check=True, env=environment(),
    )  # fmt: skip
    seconds, torch = done.stdout.split()
    return float(seconds), torch == "True"


def commands(model: Path, pairs: Path, folder: Path, python: str = sys.executable) -> dict[str, Any]:
    """What is timed: name -> (command, what to wait for)."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(
        f"name: startup\nmodel: {json.dumps(str(model))}\nstages:\n"
        f"  - dpo: {{data: {json.dumps(str(pairs))}, steps: 1, batch_size: {PAIRS}, max_length: 512, holdout: 0.0}}\n",
        encoding="utf-8",
    )
    script = [python, __file__, "--child"]
    hizala = [python, "-m", "hizala"]
    return {
        "Hizala, Python interface": ([*script, "ours", str(model), str(pairs)], loss_printed),
        "Hizala, hizala run": ([*hizala, "run", str(recipe), "--out", str(folder / "run")], row_written(folder)),
        "TRL DPOTrainer": ([*script, "trl", str(model), str(pairs)], loss_printed),
        "hizala --help": ([*hizala, "--help"], finished),
    }


def prepare(folder: Path) -> tuple[Path, Path, str]:
    """Model directory, pairs file, and which model it is: the embedded one where it is shipped."""
    import random

    from bench_pairs import make_model, make_tokenizer, synthetic_pairs

    rng = random.Random(0)
    words = ["bir", "iki", "three", "four", "beş", "altı", "seven", "eight", "dokuz", "ten"]

    def text(n: int) -> str:
        return " ".join(rng.choices(words, k=n))

    pairs = folder / "pairs.jsonl"
    with pairs.open("w", encoding="utf-8") as out:
        for _ in range(PAIRS):
            turn = {"prompt": [{"role": "user", "content": text(30)}]}
            sides = {side: [{"role": "assistant", "content": text(15)}] for side in ("chosen", "rejected")}
            out.write(json.dumps(turn | sides, ensure_ascii=False) + "\n")
    from hizala.world import model_dir

    if (model_dir() / "config.json").is_file():
        return model_dir(), pairs, "embedded"
    tokenizer = make_tokenizer(synthetic_pairs(400), folder / "tokenizer", 1024)
    make_model("4m", tokenizer, folder / "model", len(tokenizer))
    return folder / "model", pairs, "4m"


def measure(runs: int, peer: bool, limit: float) -> dict[str, Any]:
    """Medians of the runs, taking turns; runs during which others used the machine are repeated once."""
    seconds: dict[str, list[float]] = {}
    rejected = 0
    with tempfile.TemporaryDirectory() as name:
        model, pairs, kind = prepare(Path(name))
        for number in range(runs):
            folder = Path(name) / str(number)
            folder.mkdir()
            for title, (command, seen) in commands(model, pairs, folder).items():
                if title.startswith("TRL") and not peer:
                    continue
                sample = until(command, seen)
                if sample["other"] > limit and "run" not in command:
                    rejected += 1
                    sample = min(sample, until(command, seen), key=lambda s: s["seconds"])
                seconds.setdefault(title, []).append(sample["seconds"])
    imports = [import_seconds("import hizala") for _ in range(runs)]
    seconds["import hizala"] = [s for s, _ in imports]
    return {"model": kind, "seconds": seconds, "torch_imported": any(t for _, t in imports), "repeated": rejected}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; 0."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--limit", type=float, default=0.15, help="cores others may use during a run")
    p.add_argument("--no-peer", action="store_true", help="leave TRL out")
    p.add_argument("--child", nargs=3, metavar=("SIDE", "MODEL", "PAIRS"), help=argparse.SUPPRESS)
    a = p.parse_args(arguments)
    if a.child:
        side, model, pairs = a.child
        {"ours": child_ours, "trl": child_trl}[side](Path(model), Path(pairs))
        return 0
    found = measure(a.runs, not a.no_peer, a.limit)
    middle = {name: statistics.median(values) for name, values in found["seconds"].items()}
    say(f"model: {found['model']}; seconds, {a.runs} runs each")
    say(
        table(
            [
                ["", "median", "least", "most"],
                *([n, f"{middle[n]:.3f}", f"{min(v):.3f}", f"{max(v):.3f}"] for n, v in found["seconds"].items()),
            ]
        )
    )
    ours = middle["Hizala, Python interface"]
    ratio = {"first_step": round(middle["TRL DPOTrainer"] / ours, 2)} if not a.no_peer else {}
    say(json.dumps({
        "ratios": ratio, "first_step": round(ours, 3), "first_step_by_command": round(middle["Hizala, hizala run"], 3),
        "trl_first_step": None if a.no_peer else round(middle["TRL DPOTrainer"], 3),
        "import": round(middle["import hizala"], 4), "import_brings_torch": found["torch_imported"],
        "help": round(middle["hizala --help"], 3), "targets": TARGETS, "model": found["model"],
        "repeated": found["repeated"],
    }))  # fmt: skip
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
