"""Rankings: scipy and brute force as oracles, ties, and what is not defined."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hizala.core.stats import ranking
from hizala.core.stats.steps import first_error, first_wrong, predicted_error
from hizala.errors import EvalError

grades = st.lists(st.integers(0, 4), min_size=2, max_size=8)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_tau_b_is_that_of_scipy(rows: list[tuple[int, int]]) -> None:
    x, y = zip(*rows, strict=True)
    ours, theirs = ranking.kendall_tau(x, y), stats.kendalltau(x, y, variant="b").statistic
    assert (ours is None) == math.isnan(theirs)
    if ours is not None:
        assert ours == pytest.approx(theirs, abs=1e-12)


def test_tau_a_counts_ties_in_its_denominator() -> None:
    assert ranking.kendall_tau([1, 2, 2], [1, 2, 3], "a") == pytest.approx(2 / 3)
    assert ranking.kendall_tau([1, 2, 2], [1, 2, 3], "b") == pytest.approx(2 / math.sqrt(6))
    assert ranking.kendall_tau([1, 1], [1, 2], "a") == 0.0
    assert ranking.kendall_tau([1], [1]) is None


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=2, max_size=5),
    st.sampled_from([None, 1, 2, 9]),
    st.sampled_from(["linear", "exponential"]),
)
def test_ndcg_is_the_mean_over_the_orders_that_ties_leave_open(rows, k, gain) -> None:
    scores, relevance = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    gains = relevance if gain == "linear" else 2**relevance - 1
    top = len(rows) if k is None else min(k, len(rows))

    def dcg(order) -> float:
        return sum(gains[j] / math.log2(i + 2) for i, j in enumerate(order[:top]))

    orders = [p for p in itertools.permutations(range(len(rows))) if all(np.diff(scores[list(p)]) <= 0)]
    best = dcg(np.argsort(-relevance))
    ours = ranking.ndcg(scores, relevance, k, gain)
    if best == 0:
        assert ours is None
    else:
        assert ours == pytest.approx(np.mean([dcg(o) for o in orders]) / best, rel=1e-12)


def test_ndcg_of_the_textbook_list() -> None:
    # Relevance 3, 2, 3, 0, 1, 2 in the order shown.
    found = ranking.ndcg([6, 5, 4, 3, 2, 1], [3, 2, 3, 0, 1, 2])
    dcg = 3 + 2 / math.log2(3) + 3 / 2 + 1 / math.log2(6) + 2 / math.log2(7)
    best = 3 + 3 / math.log2(3) + 2 / 2 + 2 / math.log2(5) + 1 / math.log2(6)
    assert found == pytest.approx(dcg / best, rel=1e-12)


def test_relevance_of_ranks_has_the_worst_at_zero_and_keeps_ties() -> None:
    assert ranking.relevance([0, 2, 2, 5]).tolist() == [2.0, 1.0, 1.0, 0.0]


def test_top1_shares_a_tie_at_the_top() -> None:
    assert ranking.top1([3, 3, 1], [2, 0, 0]) == 0.5
    assert ranking.top1([1, 3, 2], [0, 2, 2]) == 1.0
    assert ranking.top1([1, 1], [2, 2]) is None
    assert ranking.top1([1], [2]) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.floats(-3, 3)), min_size=1, max_size=7), st.integers(1, 7))
def test_best_of_n_is_the_mean_over_all_subsets(rows, n: int) -> None:
    proxy, gold = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    if n > len(rows):
        with pytest.raises(EvalError, match="draw at least n"):
            ranking.best_of_n(proxy, gold, n)
        return
    found = []
    for some in itertools.combinations(range(len(rows)), n):
        chosen = [i for i in some if proxy[i] == proxy[list(some)].max()]
        found.append(gold[chosen].mean())
    assert ranking.best_of_n(proxy, gold, n) == pytest.approx(np.mean(found), abs=1e-9)


def test_best_of_n_of_many_samples_is_the_order_statistic_of_their_distribution() -> None:
    x = np.random.default_rng(0).random((200, 64))
    for n in (1, 4, 16):
        assert np.mean([ranking.best_of_n(r, r, n) for r in x]) == pytest.approx(n / (n + 1), abs=0.01)


def test_kl_of_best_of_n_is_that_of_a_uniform_policy_without_repetition() -> None:
    assert ranking.best_of_n_kl(1) == 0.0
    size = 20_000  # best of n over `size` equally likely responses: mass of rank i is (i/size)^n - ((i-1)/size)^n
    for n in (2, 8):
        p = np.diff((np.arange(size + 1) / size) ** n)
        assert float((p * np.log(p * size)).sum()) == pytest.approx(ranking.best_of_n_kl(n), abs=1e-3)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ranking.ndcg([1, 2], [1]), "differ in shape"),
        (lambda: ranking.ndcg([1, 2], [1, -1]), "at least 0"),
        (lambda: ranking.ndcg([1, 2], [1, 1], gain="square"), "gain"),  # type: ignore[arg-type]
        (lambda: ranking.kendall_tau([1, math.nan], [1, 2]), "not finite"),
        (lambda: ranking.kendall_tau([1, 2], [1, 2], "c"), "variant"),  # type: ignore[arg-type]
        (lambda: ranking.best_of_n_kl(0), "best of 0"),
    ],
)
def test_lists_that_mean_nothing_are_refused(call, words: str) -> None:
    with pytest.raises(EvalError, match=words):
        call()


def test_first_error_detection_by_hand() -> None:
    found = first_error([0, 2, None, None, 1], [0, 1, None, 3, None])
    assert (found.wrong, found.right) == (pytest.approx(1 / 3), 0.5)
    assert found.f1 == pytest.approx(2 * (1 / 3) * 0.5 / (1 / 3 + 0.5))
    assert first_error([None, None], [None, 0]).f1 == 0.0
    assert math.isnan(first_error([0], [0]).f1)
    assert first_wrong([True, None, False, False]) == 2
    assert first_wrong([True, None]) is None
    assert predicted_error([0.9, 0.5, 0.4]) == 2
    assert predicted_error([0.9, 0.5, 0.4], 0.3) is None
    with pytest.raises(EvalError, match="2 predictions"):
        first_error([0, 1], [0])
