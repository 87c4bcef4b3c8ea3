"""The forest's bookkeeping: what stands where, what predicts what, who sees whom."""

from __future__ import annotations

import pytest
import torch

from hizala.engines.policy import attention, load
from hizala.engines.policy.attention import tree_mask
from hizala.engines.policy.forest import Span, focus, pack, plant
from hizala.errors import DataError
from hizala.records import TokenBranch, TokenGroup

GROUP = TokenGroup([1, 2, 3], (TokenBranch([4, 5], [True, False]), TokenBranch([6], [True]), TokenBranch([], [])))


def test_row_of_one_group():
    tree = plant([GROUP])
    assert tree.ids.tolist() == [1, 2, 3, 4, 5, 6]
    assert tree.positions.tolist() == [0, 1, 2, 3, 4, 3]
    assert tree.predictors.tolist() == [2, 2]
    assert tree.targets.tolist() == [4, 6]
    assert tree.segments.tolist() == [0, 1]
    assert tree.count.tolist() == [1, 1, 0]
    assert tree.last.tolist() == [4, 5, 2]
    assert tree.tokens == 6
    assert tree.scored == 2


def test_without_sharing_every_response_brings_its_prompt():
    tree = plant([GROUP], sharing=False)
    assert tree.ids.tolist() == [1, 2, 3, 4, 5, 1, 2, 3, 6, 1, 2, 3]
    assert tree.positions.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 2]
    assert tree.count.tolist() == plant([GROUP]).count.tolist()
    assert tree.targets.tolist() == plant([GROUP]).targets.tolist()


def test_groups_stay_whole_and_in_order_and_a_large_one_stands_alone():
    small = TokenGroup([1], (TokenBranch([2], [True]),), id="s")
    rows = pack([small, small, GROUP, small], token_budget=5)
    assert [[g.id for g in row.groups] for row in rows] == [["s", "s"], [""], ["s"]]
    assert [row.tokens for row in rows] == [4, 6, 2]
    assert pack([], 5) == []


def test_mask_lets_a_response_see_its_prompt_and_itself_only():
    seen = tree_mask(Span(0, 2, (2, 1)), None)
    assert seen.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [1, 1, 1, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0, 0, 1]]


def test_window_counts_positions_along_the_branch_not_along_the_row():
    seen = tree_mask(Span(0, 2, (2, 1)), 2)
    assert seen.int().tolist() == [[1, 0, 0, 0, 0], [1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, 1, 1, 0], [0, 1, 0, 0, 1]]


def test_an_empty_prompt_and_a_mask_of_another_length_are_refused():
    with pytest.raises(DataError, match="no tokens"):
        plant([TokenGroup([], (TokenBranch([1], [True]),), id="x")])
    with pytest.raises(DataError, match="2 marks for 1"):
        plant([TokenGroup([1], (TokenBranch([1], [True, True]),))])


def test_branches_name_group_and_response_of_each_token():
    group, branch = plant([GROUP, GROUP]).branches()
    assert group.tolist() == [0] * 6 + [1] * 6
    assert branch.tolist() == [0, 0, 0, 1, 1, 2] * 2
    assert group.dtype == torch.long


@pytest.mark.parametrize("window", [None, 3, 20])
@pytest.mark.parametrize("responses", [(), (0,), (7,), (5, 9), (40,) * 8])
def test_rectangles_hold_every_row_once_and_mask_what_the_tree_masks(responses, window, monkeypatch):
    monkeypatch.setattr(attention, "_ROWS", 16)
    monkeypatch.setattr(attention, "_CALL", 1000)
    span = Span(5, 37, responses)
    seen = torch.zeros(span.tokens, span.tokens, dtype=torch.bool)
    rows: list[int] = []
    for r in attention.rectangles(span, window, torch.float32, torch.device("cpu")):
        columns = torch.cat([torch.arange(a, b) for a, b in r.keys]) - 5
        seen[r.start - 5 : r.stop - 5, columns] = r.bias == 0
        rows += range(r.start - 5, r.stop - 5)
    assert sorted(rows) == list(range(span.tokens))
    assert torch.equal(seen, tree_mask(span, window))


@pytest.mark.parametrize("window", [None, 3, 20])
@pytest.mark.parametrize("responses", [(), (0,), (7,), (5, 9), (4, 0, 30)])
def test_runs_of_keys_are_what_the_tree_masks(responses, window):
    span = Span(5, 13, responses)
    runs = attention.sight_of(span, window)
    assert (runs.diff(dim=1) >= 0).all()
    keys = torch.arange(span.tokens)
    seen = [((keys >= runs[:, r, None]) & (keys < runs[:, r + 1, None])) for r in (0, 2)]
    assert torch.equal(seen[0] | seen[1], tree_mask(span, window))


def test_what_no_asked_row_sees_is_left_out():
    tree = plant([GROUP, GROUP, GROUP])  # 3 + 2 + 1 tokens each
    row, rows, places = focus(tree, torch.tensor([13, 3, 2, 3]))
    assert row.spans == (Span(0, 3, (1, 0, 0)), Span(4, 2, (0, 0, 0)))
    assert row.ids.tolist() == tree.ids[[0, 1, 2, 3, 12, 13]].tolist()
    assert row.positions.tolist() == tree.positions[[0, 1, 2, 3, 12, 13]].tolist()
    assert rows.tolist() == [2, 3, 5]
    assert places.tolist() == [2, 1, 0, 1]
    assert [len(part) for part in focus(tree, torch.tensor([], dtype=torch.long))[1:]] == [1, 0]
    assert focus(tree, torch.tensor([3, 4, 5, 10, 11, 16, 17])).row is tree


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("kind", ["tree", "sdpa", "flex"])
@pytest.mark.parametrize("family", ["qwen3", "gemma3_text"])
def test_states_of_some_rows_are_those_of_the_whole(family, kind, make_model, make_groups, tmp_path):
    make_model(family).save_pretrained(tmp_path)
    policy = load(tmp_path, attention=kind)
    tree = policy.pack(make_groups((1, 2, 6), holes=True), 1000)[0]
    with torch.no_grad():
        whole = policy.hidden(tree)
        for rows in (torch.randperm(tree.tokens)[:9].repeat(2), tree.last[2:4], torch.arange(tree.tokens)):
            assert torch.allclose(policy._forward(tree, rows, None), whole[rows], atol=1e-5)


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("family", ["qwen3", "gemma3_text", "mistral"])
def test_every_kind_of_attention_gives_the_same_log_probs(family, make_model, make_groups, tmp_path):
    make_model(family).save_pretrained(tmp_path)
    policy = load(tmp_path)
    groups = make_groups((1, 2, 6), holes=True)
    results = {}
    with torch.no_grad():
        for kind in ("tree", "sdpa", "flex"):
            policy.attention = kind
            results[kind] = torch.cat([policy.logps(tree).tokens for tree in policy.pack(groups, 1000)])
    assert torch.allclose(results["tree"], results["sdpa"], atol=1e-5)
    assert torch.allclose(results["flex"], results["sdpa"], atol=1e-5)


def test_a_token_outside_of_the_vocabulary_is_refused(make_model, tmp_path):
    make_model("qwen3").save_pretrained(tmp_path)
    policy = load(tmp_path)
    for token in (61, -1):
        with pytest.raises(DataError, match="not in the model's vocabulary of 61"):
            policy.pack([TokenGroup([1], (TokenBranch([token], [True]),))], 100)


def test_how_a_policy_computes_is_on_record(make_model, tmp_path):
    make_model("qwen3").save_pretrained(tmp_path)
    facts = load(tmp_path, sharing=False).facts
    assert facts == {"dtype": "float32", "attention": "auto", "sharing": "no", "compiled passes": "no"}
