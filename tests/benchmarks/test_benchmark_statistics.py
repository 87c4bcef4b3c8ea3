"""The arithmetic the benchmarks rest on: contention, medians, comparisons, token shapes, HH transcripts."""

import importlib.util
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


common, pairs = module("bench_common"), module("bench_pairs")
race = module("bench_race")
dpo = module("dpo_vs_trl")


def sample(wall, pairs=10, **more):
    return {"wall": wall, "pairs": pairs, "other": 0.0, **more}


def test_busy_time_counts_work_and_steal_but_not_idle_or_guest():
    stat = "cpu  100 20 30 5000 400 1 2 7 50 0\ncpu0 1 1 1 1\n"
    assert common.busy_seconds(stat) == pytest.approx((100 + 20 + 30 + 1 + 2 + 7) / common.TICKS)


def test_memory_is_read_from_the_status_file():
    status = "Name:\tpython\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n"
    assert common.status_kib(status, "VmHWM") == 204800
    assert common.status_kib(status, "VmSwap") == 0


def test_own_work_is_not_taken_for_contention():
    assert common.others(wall=10.0, own=9.9, busy=9.9) == 0.0
    assert common.others(wall=10.0, own=9.9, busy=9.8) == 0.0
    assert common.others(wall=10.0, own=6.0, busy=16.0) == pytest.approx(1.0)


def test_contended_samples_count_only_where_no_clean_one_exists():
    clean, dirty = sample(1.0), sample(0.1, contended=1.0)
    assert common.median_rate([clean, dirty, sample(2.0)]) == pytest.approx(7.5)
    assert common.median_rate([dirty]) == pytest.approx(100.0)


def test_the_largest_difference_is_over_the_steps_both_made():
    a = [{"loss": 0.5}, {"loss": 0.4}, {"loss": 9.0}]
    assert common.largest_difference(a, [{"loss": 0.5}, {"loss": 0.1}], "loss") == pytest.approx(0.3)


@pytest.mark.parametrize("other", [[], [{"loss": float("nan")}]])
def test_nothing_compared_is_an_error_and_not_equality(other):
    with pytest.raises(ValueError, match="loss"):
        common.largest_difference([{"loss": 0.5}], other, "loss")


def test_columns_line_up():
    lines = common.table([["name", "x"], ["a", "1.00"], ["longer", "22.00"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].endswith(" 1.00")


def test_an_hh_row_becomes_a_prompt_and_two_replies():
    row = {
        "chosen": "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: why?\n\nAssistant: because",
        "rejected": "\n\nHuman: hi\n\nAssistant: hello\n\nHuman: why?\n\nAssistant: no",
    }
    pair = pairs.chatml(row)
    assert pair.prompt.endswith("<|im_start|>user\nwhy?<|im_end|>\n<|im_start|>assistant\n")
    assert (pair.chosen, pair.rejected) == ("because<|im_end|>", "no<|im_end|>")


@pytest.mark.parametrize(
    "rejected",
    [
        "\n\nHuman: another\n\nAssistant: no",
        "\n\nHuman: hi\n\nAssistant: no\n\nHuman: and?",
        "\n\nHuman: hi\n\nAssistant:",
        "",
    ],
)
def test_rows_that_are_no_pair_of_last_replies_are_left_out(rejected):
    assert pairs.chatml({"chosen": "\n\nHuman: hi\n\nAssistant: yes", "rejected": rejected}) is None


def test_shapes_count_padding_and_sharing():
    rows = [pairs.TokenPair([1] * 4, [2] * 2, [3] * 1), pairs.TokenPair([1] * 2, [2] * 2, [3] * 4)]
    shape = pairs.shape(rows, 2)
    assert shape["padded"] == 12
    assert shape["unshared"] == (4 + 2 + 4 + 1 + 2 + 2 + 2 + 4) / 2
    assert shape["shared"] == (4 + 2 + 1 + 2 + 2 + 4) / 2


def test_padding_for_the_shares_changes_lengths_and_counts_its_last_token_alone():
    worker = module("worker_hizala")
    rows = [pairs.TokenPair([1] * 4, [2] * 2, [3] * 1), pairs.TokenPair([1] * 2, [2] * 2, [3] * 4)]
    plain, padded = worker.groups_of(rows, 0), worker.groups_of(rows, 2)
    assert {len(g.prompt) + len(r.ids) for g in padded for r in g.responses} == {6}
    for a, b in zip(plain, padded, strict=True):
        for short, long in zip(a.responses, b.responses, strict=True):
            assert sum(long.mask) - sum(short.mask) == (len(long.ids) > len(short.ids))
            assert long.mask[-1]


def test_the_sample_has_the_lengths_of_the_whole():
    rows = [(None, pairs.TokenPair([1] * n, [2], [3])) for n in range(1, 201)]
    picked = race.representative(rows, 20)
    assert sum(len(r.prompt) for _, r in picked) / 20 == pytest.approx(100.5, abs=1)
    with pytest.raises(ValueError, match="pairs"):
        race.representative(rows, 201)


def test_a_batch_must_divide_the_pairs(capsys):
    with pytest.raises(SystemExit):
        dpo.pair_options("", ["--pairs", "20", "--batch", "16"])
    assert "multiple" in capsys.readouterr().err
    assert dpo.pair_options("", ["--pairs", "32", "--models", "4m"]).pairs == {"4m": 32}
