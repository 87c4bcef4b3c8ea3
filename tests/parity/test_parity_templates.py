"""Chat templates as an installed TRL ships them: the proof passes what is sound and names what is not."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest
from chat_models import byte_level, write_model

from hizala.engines.data.templates import ChatTemplate
from hizala.errors import TemplateError

pytestmark = pytest.mark.parity
SPECIAL = {
    "qwen": "<|endoftext|> <|im_start|> <|im_end|>",
    "llama": "<|begin_of_text|> <|end_of_text|> <|start_header_id|> <|end_header_id|> <|eot_id|>",
    "gemma": "<bos> <eos> <start_of_turn> <end_of_turn>",
    "phi": "<|endoftext|> <|system|> <|user|> <|assistant|> <|end|>",
    "deepseek": "<｜begin▁of▁sentence｜> <｜User｜> <｜Assistant｜> <｜end▁of▁sentence｜>",
}
# file -> (several turns in one piece, system turns, <think> blocks), or the rule it breaks.
VERDICTS: dict[str, tuple[bool, bool, bool] | str] = {
    "qwen2_5": (True, True, True),
    "qwen3": (False, True, True),
    "qwen3_training": (True, True, True),
    "qwen3_instruct_2507": (True, True, True),
    "qwen3_5_nothink": (False, True, False),
    "qwen3_6": (False, True, True),
    "llama3": (True, True, True),
    "llama3_2": (True, True, True),
    "gemma": (True, False, True),
    "gemma3": (True, True, True),
    "phi3": (True, True, True),
    "deepseek_r1_distill": "prefix",
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict_on_a_published_template(tmp_path: Path, name: str) -> None:
    found = find_spec("trl")
    if found is None or found.origin is None:
        pytest.skip("TRL is not installed")
    path = Path(found.origin).parent / "chat_templates" / f"{name}.jinja"
    if not path.is_file():
        pytest.skip(f"the installed TRL has no template {name}")
    special = SPECIAL[next(family for family in SPECIAL if name.startswith(family))].split()
    names = {"eos_token": special[-1], "bos_token": special[0]}
    model = write_model(
        tmp_path, byte_level(), path.read_text("utf-8"), special=special, plain=["<think>", "</think>"], names=names
    )
    expected = VERDICTS[name]
    if isinstance(expected, str):
        with pytest.raises(TemplateError, match=f"rule '{expected}'"):
            ChatTemplate.load(model).prove()
        return
    proof = ChatTemplate.load(model).prove()
    assert (proof.multi_turn, proof.system, proof.reasoning) == expected
    assert proof.end == special[-1]
