"""The benchmarks of the preference methods run from end to end on a tiny model; what they compare is arranged alike."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


def module(name):
    """A module of the benchmarks folder, which is not a package."""
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


for helper in ("bench_common", "bench_pairs", "bench_race", "bench_methods"):
    module(helper)
hizala, peer, pairs = module("worker_hizala"), module("worker_trl"), module("bench_pairs")
ROWS = [pairs.TokenPair([1, n], [2] * n, [3] * n) for n in (1, 2, 3)]
TEXTS = [pairs.TextPair(f"p{n}", f"c{n}", f"r{n}") for n in (1, 2, 3)]


@pytest.mark.parity
@pytest.mark.real
@pytest.mark.parametrize("name", ["rm", "orpo", "simpo", "kto"])
def test_both_sides_compute_the_same_on_the_same_batches(name):
    pytest.importorskip("trl", reason="the peer is not installed")
    command = [sys.executable, str(FOLDER / f"{name}_vs_trl.py"), "--smoke"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])
    assert figures["equal"] == {"smoke": True}
    assert max(figures["max_diff"]["smoke"].values()) <= figures["tolerance"]
    assert figures["max_diff"]["smoke"].keys() == figures["compared_steps"].keys()
    assert figures["ratios"]["smoke"] > 0
    assert figures["rss"]["smoke"]["ours"] > 0


def test_mismatched_responses_are_those_of_the_pair_before():
    groups = hizala.thumbs(hizala.groups_of(ROWS, 0))
    assert [[r.label for r in g.responses] for g in groups] == [[True, False]] * 3
    others = hizala.mismatched(groups)
    assert [g.prompt for g in others] == [g.prompt for g in groups]
    assert [len(g.responses[0].ids) for g in others] == [3, 1, 2]
    assert len({g.id for g in (*groups, *others)}) == 6


def test_trl_is_given_thumbs_whose_neighbours_have_other_prompts():
    rows = peer.texts_of("kto", TEXTS, 2)
    assert [(r["completion"], r["label"]) for r in rows] == [
        ("c1", True),
        ("c2", True),
        ("r1", False),
        ("r2", False),
        ("c3", True),
        ("r3", False),
    ]
    assert peer.texts_of("simpo", TEXTS, 2) == [vars(t) for t in TEXTS]


def test_other_ids_on_the_two_sides_are_an_error():
    dataset = [{"chosen_ids": [1, n] + [2] * n, "rejected_ids": [1, n] + [3] * n} for n in (1, 2, 3)]
    peer.check_ids(*peer.ids_of("reward", dataset, ROWS, 9, 2))
    dataset[1]["chosen_ids"].append(9)
    with pytest.raises(ValueError, match="row 1"):
        peer.check_ids(*peer.ids_of("reward", dataset, ROWS, 9, 2))
    with pytest.raises(ValueError, match="kept 2 rows of 3"):
        peer.check_ids(*peer.ids_of("reward", dataset[:2], ROWS, 9, 2))


def test_both_workers_record_the_same_figures():
    assert hizala.FIGURES.keys() == peer.FIGURES.keys()
    for method in ("rm", "orpo", "simpo", "kto"):
        contest = module(f"{method}_vs_trl").CONTEST
        both = hizala.FIGURES[contest.method.name].keys() & peer.FIGURES[contest.method.name].keys()
        assert contest.compare.keys() <= both | {"loss"}


def test_pairs_that_were_cut_are_left_out():
    class Ends:
        eos_token_id = 7

    kept = (TEXTS[0], pairs.TokenPair([1], [2, 7], [3, 7]))
    assert pairs.whole([kept, (TEXTS[1], pairs.TokenPair([1], [2], [3, 7]))], Ends()) == [kept]
