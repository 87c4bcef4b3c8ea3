"""What surrounds vLLM and needs none: refusals, requests and their seeds, digests, the guard, answers that are lost."""

from __future__ import annotations

import http.server
import os
import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import torch

from hizala import world
from hizala.core.distribution import Distribution
from hizala.engines.policy import load
from hizala.engines.rollout.vllm import settings
from hizala.engines.rollout.vllm.digest import digest
from hizala.engines.rollout.vllm.http import Client, Lost, Refused
from hizala.engines.rollout.vllm.requests import requests_of
from hizala.engines.rollout.vllm.sampler import VllmSampler
from hizala.errors import ConfigError


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"min_p": 0.1, "top_p": 0.9}, "applies min_p before top_p"),
        ({"temperature": 0.001}, "vLLM draws at temperature 0.01"),
        ({"mode": "sever"}, "unknown mode 'sever', did you mean 'server'"),
        ({"dtype": "float16"}, "unknown dtype 'float16'"),
        ({"end_ids": ()}, "at least one end token"),
        ({"rows": 0}, "must be above 0"),
        ({"threads": 2}, "uses torch's threads"),
        ({"temperature": 0, "top_k": 3}, "no effect at temperature 0"),
    ],
)
def test_what_vllm_would_do_otherwise_is_refused_before_it_starts(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        VllmSampler(load(world.model_dir()), **{"end_ids": [2], **asked})


def test_what_both_understand_alike_is_not_refused() -> None:
    for distribution in (
        Distribution(0),
        Distribution(0.01),
        Distribution(0.7, top_p=0.9),
        Distribution(top_k=5, top_p=0.9),
        Distribution(top_k=5, min_p=0.1),
    ):
        settings.check(distribution, "server", "bfloat16")


def test_a_server_is_started_with_what_an_engine_in_process_is(tmp_path: Path) -> None:
    made = settings.EngineSettings(tmp_path, "float32", 1 << 20, None, 8, True)
    flags = made.flags()
    assert "--enforce-eager" in flags
    assert f"--model={tmp_path}" in flags
    assert "--max-model-len=-1" in flags
    assert "--no-enable-chunked-prefill" in flags
    names = {flag.partition("=")[0].removeprefix("--").removeprefix("no-") for flag in flags}
    assert names == {name.replace("_", "-") for name in made.arguments()}


def test_the_cache_holds_all_rows_where_a_gibibyte_does() -> None:
    config = {"num_hidden_layers": 4, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 32}
    config |= {"hidden_size": 128, "max_position_embeddings": 4096}
    each = 2 * 4 * 2 * 32 * 4
    assert settings.cache_bytes(config, "float32", 255, 127) == 256 * 128 * each
    assert settings.cache_bytes(config, "bfloat16", 255, 127) == 128 * 128 * each
    assert settings.cache_bytes(config, "float32", 255, None) == 1 << 30
    assert settings.cache_bytes(config, "float32", 1, 10) == 1 << 24
    assert settings.cache_bytes({"d_model": 5}, "float32", 1, 10) == 1 << 30


def test_seeds_belong_to_the_prompt_and_not_to_its_place() -> None:
    prompts = [[1, 2], [3], [1, 2]]
    first = requests_of(prompts, 10, 100, seed=4)
    turned = requests_of([[3], [1, 2], [1, 2]], 10, 100, seed=4)
    assert first[0].seed != first[2].seed
    assert first[1].seed == turned[0].seed
    assert {first[0].seed, first[2].seed} == {turned[1].seed, turned[2].seed}
    assert requests_of(prompts, 10, 100, seed=5)[0].seed != first[0].seed
    assert all(0 <= r.seed < 1 << 62 for r in first)


def test_the_context_bounds_what_is_asked_for() -> None:
    assert [r.most for r in requests_of([[1] * 95, [1]], 10, 100, seed=0)] == [5, 10]
    with pytest.raises(ConfigError, match="prompt 1: a prompt of 100 tokens leaves no room in the engine's context"):
        requests_of([[1], [1] * 100], 10, 100, seed=0)
    with pytest.raises(ConfigError, match="prompt 0: a prompt has no tokens"):
        requests_of([[]], 10, 100, seed=0)


def test_a_digest_sees_every_bit_every_name_and_every_shape() -> None:
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(4, dtype=torch.bfloat16), "c": torch.tensor(1.0)}
    whole = digest(tensors)
    assert digest(dict(reversed(tensors.items()))) == whole
    assert digest({n: t.clone() for n, t in tensors.items()}) == whole
    flipped = tensors["b"].clone()
    flipped.view(torch.int16)[3] ^= 1
    others = [
        {**tensors, "b": flipped},
        {**tensors, "a": tensors["a"].reshape(3, 2)},
        {**tensors, "a": tensors["a"].double()},
        {"a": tensors["a"], "b": tensors["b"], "d": tensors["c"]},
        {**tensors, "c": -tensors["c"]},
        {**tensors, "c": torch.tensor(-0.0)},
    ]
    assert len({whole, *(digest(other) for other in others)}) == 1 + len(others)
    # Not how a tensor lies in memory.
    assert digest({**tensors, "a": tensors["a"].T.contiguous().T}) == whole


def test_tensors_of_a_policy_are_those_of_its_directory(tmp_path: Path) -> None:
    policy = load(world.model_dir())
    policy.export(tmp_path / "float32")
    again = load(tmp_path / "float32")
    assert digest(again.tensors()) == digest(policy.tensors())
    policy.export(tmp_path / "bfloat16", "bfloat16")
    assert digest(load(tmp_path / "bfloat16").tensors("bfloat16")) == digest(policy.tensors("bfloat16"))
    assert (tmp_path / "float32" / "tokenizer.json").is_file()


def test_tensors_of_adapters_are_those_of_the_merged_model(tmp_path: Path) -> None:
    policy = load(world.model_dir(), lora={"rank": 2, "alpha": 4.0, "merge": True}, heads=("value",))
    with torch.no_grad():
        for parameter in policy.trainable().values():
            parameter.add_(torch.ones_like(parameter) * 0.01)
    policy.save(tmp_path / "merged")
    tensors = policy.tensors()
    assert not any("lora" in name or "heads" in name for name in tensors)
    assert digest(load(tmp_path / "merged").tensors()) == digest(tensors) != digest(load(world.model_dir()).tensors())


TREE = """
import subprocess, sys, time
# A grandchild in a session of its own, which no signal to the group reaches.
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
print("up", flush=True)
time.sleep(300)
"""


def guarded(directory: Path, program: str) -> tuple[subprocess.Popen[str], int]:
    """A program under the guard, and our end of the pipe."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "hizala.engines.rollout.vllm.guard", str(reading), str(directory)]
    process = subprocess.Popen(
        [*command, sys.executable, "-c", program], pass_fds=(reading,), stdout=subprocess.PIPE, text=True
    )
    os.close(reading)
    return process, writing


@pytest.mark.skipif(sys.platform != "linux", reason="the guard reads /proc")
def test_the_guard_ends_every_descendant_when_the_pipe_closes(tmp_path: Path) -> None:
    store = tmp_path / "store"
    store.mkdir()
    process, pipe = guarded(store, TREE)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    tree = psutil.Process(process.pid).children(recursive=True)
    assert len(tree) == 2
    os.close(pipe)
    assert process.wait(20) != 0
    assert not any(child.is_running() for child in tree)
    assert not store.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the guard reads /proc")
def test_the_guard_ends_with_its_child_and_leaves_the_directory_to_its_owner(tmp_path: Path) -> None:
    process, pipe = guarded(tmp_path, "import sys; sys.exit(7)")
    assert process.wait(20) == 7
    assert tmp_path.is_dir()
    os.close(pipe)


@pytest.mark.skipif(sys.platform != "linux", reason="the guard asks Linux for a signal at its parent's death")
def test_a_guard_that_is_killed_takes_its_child_along(tmp_path: Path) -> None:
    process, pipe = guarded(tmp_path, "import time; print('up', flush=True); time.sleep(300)")
    assert process.stdout is not None
    process.stdout.readline()
    (child,) = psutil.Process(process.pid).children()
    process.kill()
    process.wait()
    child.wait(10)
    assert not child.is_running()
    os.close(pipe)


class Answers(http.server.BaseHTTPRequestHandler):
    """A server with one route for every way to answer."""

    def do_POST(self) -> None:
        """Answer as the path says."""
        self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/dies":
            self.connection.close()
            return
        if self.path == "/hangs":
            time.sleep(1.5)
        status = int(self.path[1:]) if self.path[1:].isdigit() else 200
        body = b"no json" if self.path == "/garbled" else b'{"ok": true}'
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def address_string(self) -> str:
        """There is none on a socket file."""
        return "socket"

    def log_message(self, *_: object) -> None:
        """Nothing is told."""


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    class Here(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            """A connection that was closed on purpose is no news."""

    path = tmp_path / "s"
    with Here(str(path), Answers) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield Client(path, "key")
        server.shutdown()


def test_answers_are_told_from_losses_and_refusals(client: Client, tmp_path: Path) -> None:
    assert client.post("/200", {"a": 1}, timeout=5) == {"ok": True}
    for route in ("/404", "/400"):
        with pytest.raises(Refused):
            client.post(route, timeout=5)
    for route in ("/500", "/503", "/dies", "/garbled"):
        with pytest.raises(Lost):
            client.post(route, timeout=5)
    with pytest.raises(Lost):
        client.post("/hangs", timeout=0.2)
    with pytest.raises(Lost):
        Client(tmp_path / "nowhere", "key").post("/200", timeout=1)
