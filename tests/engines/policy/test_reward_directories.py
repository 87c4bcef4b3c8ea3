"""Reward models are saved as the classifiers transformers knows: equal scores there, and when we load them again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from hizala.engines.data.templates import ChatTemplate
from hizala.engines.policy import check_directory, load, reward_head
from hizala.errors import ConfigError, ModelError
from hizala.records import Group, Message, Response, TokenBranch, TokenGroup
from hizala.world import model_dir

FAMILIES = ("llama", "qwen2", "qwen3", "mistral", "gemma3_text")
STEPWISE = ("llama", "qwen2", "qwen3", "mistral")


def trained(directory: Path, kind: str, labels: tuple[str, ...] = (), std: float = 0.3, **options):
    """A reward model whose head is not trivial; at a `std` of 0.02 the embedded model's scores are around one."""
    policy = load(directory, heads=(kind,), labels=labels, **options)
    torch.manual_seed(7)
    with torch.no_grad():
        for parameter in policy.module.heads.parameters():
            parameter.normal_(std=std)
    return policy


def marked(groups: list[TokenGroup]) -> list[TokenGroup]:
    """The same groups, every second token of a response being the end of a step."""
    out = []
    for group in groups:
        branches = tuple(
            TokenBranch(r.ids, r.mask, marks=tuple((i, True) for i in range(0, len(r.ids), 2))) for r in group.responses
        )
        out.append(TokenGroup(group.prompt, branches, group.id))
    return out


def sequences(groups: list[TokenGroup]) -> list[torch.Tensor]:
    return [torch.tensor([[*g.prompt, *r.ids]]) for g in groups for r in g.responses]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("labels", [(), ("helpful", "honest", "brief")], ids=["one", "three"])
def test_transformers_gives_the_scores_we_give(family, labels, make_model, make_groups, tmp_path):
    from transformers import AutoModelForSequenceClassification

    make_model(family, torch.float32).save_pretrained(tmp_path / "lm")
    policy = trained(tmp_path / "lm", "score", labels)
    groups = make_groups((2, 1, 3))
    tree = policy.pack(groups, 1000)[0]
    policy.save(tmp_path / "rm")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", dtype=torch.float32).eval()
    assert theirs.config.num_labels == max(1, len(labels))
    with torch.no_grad():
        expected = torch.cat([theirs(ids).logits for ids in sequences(groups)])
        ours = policy.scores(tree).reshape(expected.shape)
        again = load(tmp_path / "rm")
        assert torch.allclose(ours, expected, rtol=0, atol=2e-6 * float(expected.abs().max()))
        assert torch.equal(again.scores(tree).reshape(expected.shape), ours)
    assert again.module.heads["score"].labels == (labels or ("score",))
    check_directory(tmp_path / "rm")


@pytest.mark.parametrize("family", STEPWISE)
def test_transformers_gives_the_step_probabilities_we_give(family, make_model, make_groups, tmp_path):
    from transformers import AutoModelForTokenClassification

    make_model(family, torch.float32).save_pretrained(tmp_path / "lm")
    policy = trained(tmp_path / "lm", "step")
    groups = marked(make_groups((2, 1)))
    tree = policy.pack(groups, 1000)[0]
    policy.save(tmp_path / "rm")
    theirs = AutoModelForTokenClassification.from_pretrained(tmp_path / "rm", dtype=torch.float32).eval()
    assert theirs.config.id2label == {0: "wrong", 1: "right"}
    expected = []
    with torch.no_grad():
        for group in groups:
            for response in group.responses:
                right = theirs(torch.tensor([[*group.prompt, *response.ids]])).logits[0].softmax(-1)[:, 1]
                expected += [right[len(group.prompt) + i] for i, _ in response.marks]
        ours = policy.outputs(tree, ("step_scores",))["step_scores"]
        again = load(tmp_path / "rm").outputs(tree, ("step_scores",))["step_scores"]
    assert torch.allclose(torch.sigmoid(ours), torch.stack(expected), rtol=0, atol=1e-6)
    assert torch.equal(again, ours)
    check_directory(tmp_path / "rm")


def chats() -> list[Group]:
    prompt = (Message("user", "3 + 4 kaç eder?"),)
    texts = ("7 eder.", "Yedi.\nEmin değilim.", "I do not know, sorry.")
    return [Group(prompt, tuple(Response((Message("assistant", t),)) for t in texts), id="a")]


def test_pipelines_of_transformers_score_the_embedded_reward_model(tmp_path):
    """Text in, score out: through a batch that is padded, with the tokenizer that travels with the model."""
    from transformers import pipeline

    policy = trained(model_dir(), "score", std=0.02)
    chat = ChatTemplate.load(model_dir())
    groups = [chat.encode_group(group) for group in chats()]
    ours = policy.scores(policy.pack(groups, 1000)[0]).tolist()
    policy.save(tmp_path)
    texts = [chat.visible([*g.prompt, *r.ids]) for g in groups for r in g.responses]
    classify = pipeline("text-classification", model=str(tmp_path), dtype=torch.float32, device="cpu")
    for batch in (1, 3):
        given = classify(texts, function_to_apply="none", batch_size=batch)
        assert [answer["label"] for answer in given] == ["score"] * 3
        assert [answer["score"] for answer in given] == pytest.approx(ours, abs=1e-6)
    # Without being told so, too: the directory says that its scores are real numbers.
    assert [answer["score"] for answer in classify(texts)] == pytest.approx(ours, abs=1e-6)


def test_pipelines_of_transformers_mark_the_steps_of_the_embedded_process_model(tmp_path):
    from transformers import pipeline

    policy = trained(model_dir(), "step", std=0.02)
    chat = ChatTemplate.load(model_dir())
    groups = marked([chat.encode_group(group) for group in chats()])
    tree = policy.pack(groups, 1000)[0]
    ours = torch.sigmoid(policy.outputs(tree, ("step_scores",))["step_scores"]).tolist()
    policy.save(tmp_path)
    classify = pipeline(
        "token-classification", model=str(tmp_path), dtype=torch.float32, device="cpu", ignore_labels=[]
    )
    got = []
    for group in groups:
        for response in group.responses:
            given = classify(chat.visible([*group.prompt, *response.ids]))
            assert len(given) >= len(response.ids)
            right = {g["index"]: g["score"] if g["entity"] == "right" else 1 - g["score"] for g in given}
            got += [right[len(group.prompt) + i] for i, _ in response.marks]
    assert [float(p) for p in got] == pytest.approx(ours, abs=1e-6)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_a_classifier_of_others_making_scores_as_it_does_there(family, outputs, make_model, make_groups, tmp_path):
    from transformers import AutoModelForSequenceClassification

    config = make_model(family, torch.float32).config
    config.num_labels = outputs
    torch.manual_seed(1)
    theirs = AutoModelForSequenceClassification.from_config(config, dtype=torch.float32).eval()
    theirs.save_pretrained(tmp_path)
    policy = load(tmp_path)
    groups = make_groups((2, 1))
    with torch.no_grad():
        expected = torch.cat([theirs(ids).logits for ids in sequences(groups)])
        ours = policy.scores(policy.pack(groups, 1000)[0]).reshape(expected.shape)
    assert torch.allclose(ours, expected, rtol=0, atol=1e-6)
    assert reward_head(tmp_path) == ("score", tuple(f"LABEL_{i}" for i in range(outputs)))
    check_directory(tmp_path)


@pytest.mark.parametrize("family", STEPWISE)
def test_a_model_of_steps_of_others_making_gives_the_probability_of_its_second_label(
    family, make_model, make_groups, tmp_path
):
    from transformers import AutoModelForTokenClassification

    config = make_model(family, torch.float32).config
    config.num_labels = 2
    torch.manual_seed(1)
    theirs = AutoModelForTokenClassification.from_config(config, dtype=torch.float32).eval()
    torch.nn.init.normal_(theirs.score.bias)
    theirs.save_pretrained(tmp_path)
    policy, groups = load(tmp_path), marked(make_groups((1,)))
    with torch.no_grad():
        right = theirs(sequences(groups)[0]).logits[0].softmax(-1)[:, 1]
        ours = policy.outputs(policy.pack(groups, 1000)[0], ("step_scores",))["step_scores"].sigmoid()
    expected = [right[len(groups[0].prompt) + i] for i, _ in groups[0].responses[0].marks]
    assert torch.allclose(ours, torch.stack(expected), rtol=0, atol=1e-6)
    check_directory(tmp_path)


def test_padding_is_never_an_end_token(tmp_path):
    """Many models pad with their end token; a classifier would then score the token before it."""
    from transformers import AutoModelForSequenceClassification

    base = tmp_path / "lm"
    shutil.copytree(model_dir(), base)
    for name, key, value in (
        ("config.json", "pad_token_id", 2045),
        ("tokenizer_config.json", "pad_token", "<|im_end|>"),
    ):
        document = json.loads((base / name).read_text())
        (base / name).write_text(json.dumps(document | {key: value}))
    policy = trained(base, "score", std=0.02)
    chat = ChatTemplate.load(base)
    groups = [chat.encode_group(group) for group in chats()]
    assert all(r.ids[-1] == 2045 for g in groups for r in g.responses)
    policy.save(tmp_path / "rm")
    pad = json.loads((tmp_path / "rm/config.json").read_text())["pad_token_id"]
    assert pad not in (None, 2045)
    told = json.loads((tmp_path / "rm/tokenizer_config.json").read_text())
    assert told["pad_token"] != "<|im_end|>"
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", dtype=torch.float32).eval()
    ids = [s[0].tolist() for s in sequences(groups)]
    longest = max(map(len, ids))
    batch = torch.tensor([row + [pad] * (longest - len(row)) for row in ids])
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in ids])
    with torch.no_grad():
        expected = theirs(input_ids=batch, attention_mask=mask).logits[:, 0]
        assert torch.allclose(policy.scores(policy.pack(groups, 1000)[0]), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["score", "step"])
def test_an_untied_reward_model_has_no_language_head(kind, make_model, make_groups, tmp_path):
    model = make_model("llama", torch.float32)
    assert not model.config.tie_word_embeddings
    model.save_pretrained(tmp_path / "lm")
    trained(tmp_path / "lm", kind).save(tmp_path / "rm")
    names = set(json_names(tmp_path / "rm"))
    assert "lm_head.weight" not in names
    assert "score.weight" in names
    again = load(tmp_path / "rm")
    tree = again.pack(make_groups((2,)), 1000)[0]
    with pytest.raises(ModelError, match="no language head"):
        again.logps(tree)
    assert "lm_head.weight" not in again.trainable()


def json_names(directory: Path) -> list[str]:
    from safetensors import safe_open

    with safe_open(directory / "model.safetensors", framework="pt") as file:
        return list(file.keys())


def test_a_reward_model_trains_on_with_its_own_head(make_model, make_groups, tmp_path):
    make_model("qwen3", torch.float32).save_pretrained(tmp_path / "lm")
    first = trained(tmp_path / "lm", "score", ("a", "b"))
    first.save(tmp_path / "rm")
    again = load(tmp_path / "rm", heads=("score",), labels=("a", "b"))
    assert torch.equal(again.module.heads["score"].weight, first.module.heads["score"].weight)
    with pytest.raises(ModelError, match="does not give b, a"):
        load(tmp_path / "rm", heads=("score",), labels=("b", "a"))
    with pytest.raises(ModelError, match="has a score head already"):
        load(tmp_path / "rm", heads=("step",))


@pytest.mark.parametrize("kind", ["score", "step"])
@pytest.mark.parametrize("merge", [True, False])
def test_adapters_keep_the_head_beside_them(kind, merge, make_model, make_groups, tmp_path):
    make_model("qwen3", torch.float32).save_pretrained(tmp_path / "lm")
    labels = ("a", "b") if kind == "score" else ()
    policy = trained(tmp_path / "lm", kind, labels, lora={"rank": 2, "alpha": 4.0, "merge": merge})
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.normal_(std=0.1)
    groups = marked(make_groups((2,)))
    tree = policy.pack(groups, 1000)[0]
    name = {"score": "scores", "step": "step_scores"}[kind]
    ours = policy.outputs(tree, (name,))[name]
    policy.save(tmp_path / "rm")
    again = load(tmp_path / "rm")
    assert torch.allclose(again.outputs(tree, (name,))[name], ours, rtol=0, atol=1e-5)
    assert f"heads.{kind}.weight" in again.trainable()
    assert again.reward_head.labels == (labels or ("step",))
    assert reward_head(tmp_path / "rm") == (kind, labels or ("step",))
    assert reward_head(tmp_path / "lm") is None


def test_peft_loads_the_adapters_and_the_head(make_model, make_groups, tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForSequenceClassification

    make_model("qwen3", torch.float32).save_pretrained(tmp_path / "lm")
    policy = trained(tmp_path / "lm", "score", lora={"rank": 2, "alpha": 4.0, "merge": False})
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.normal_(std=0.1)
    groups = make_groups((3,))
    policy.save(tmp_path / "rm")
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path / "lm", num_labels=1, dtype=torch.float32)
    theirs = PeftModel.from_pretrained(base, tmp_path / "rm").eval()
    with torch.no_grad():
        expected = torch.cat([theirs(input_ids=ids).logits[:, 0] for ids in sequences(groups)])
        assert torch.allclose(policy.scores(policy.pack(groups, 1000)[0]), expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("family", ["olmo2", "gpt2"])
def test_other_architectures_become_classifiers_too(family, make_groups, tmp_path, caplog, capfd):
    from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

    shape = {
        "vocab_size": 61,
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "pad_token_id": None,
    }
    shape |= {"intermediate_size": 48, "num_key_value_heads": 2} if family == "olmo2" else {"bos_token_id": 0}
    shape |= {"eos_token_id": 0}
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **shape)).save_pretrained(tmp_path / "lm")
    policy = trained(tmp_path / "lm", "score")
    policy.module.eval()
    groups = make_groups((2, 1))
    tree = policy.pack(groups, 1000)[0]
    policy.save(tmp_path / "rm")
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rm", dtype=torch.float32).eval()
    capfd.readouterr()
    again = load(tmp_path / "rm")
    assert "MISSING" not in capfd.readouterr().err + caplog.text
    again.module.eval()
    with torch.no_grad():
        expected = torch.cat([theirs(ids).logits[:, 0] for ids in sequences(groups)])
        assert torch.allclose(policy.scores(tree), expected, rtol=0, atol=1e-5)
        assert torch.allclose(again.scores(tree), expected, rtol=0, atol=1e-5)


def test_what_could_not_be_saved_is_refused_before_training(make_model, tmp_path):
    make_model("gemma3_text", torch.float32).save_pretrained(tmp_path / "lm")
    with pytest.raises(ModelError, match="no \\*ForTokenClassification for model_type 'gemma3_text'"):
        load(tmp_path / "lm", heads=("step",))
    with pytest.raises(ConfigError, match="unknown head 'scores', did you mean 'score'"):
        load(tmp_path / "lm", heads=("scores",))


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (lambda t: t.pop("score.weight"), "'score.weight' lacks"),
        (lambda t: t.update({"score.weight": t["score.weight"][:, :3].contiguous()}), "it should be"),
        (lambda t: t.update({"score.bias": torch.zeros(1)}), "score.bias"),
        (lambda t: t.update({"score.weight": t["score.weight"] * torch.nan}), "score.weight"),
    ],
)
def test_a_damaged_reward_head_is_one_clear_error(damage, told, make_model, tmp_path):
    from safetensors.torch import load_file, save_file

    make_model("qwen3", torch.float32).save_pretrained(tmp_path / "lm")
    trained(tmp_path / "lm", "score").save(tmp_path / "rm")
    tensors = load_file(tmp_path / "rm/model.safetensors")
    damage(tensors)
    save_file(tensors, tmp_path / "rm/model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=told):
        load(tmp_path / "rm")
