"""vLLM as a server in a process of its own: started, watched, and started again with the weights it had."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from hizala.engines.rollout.vllm.http import Client, Lost, Refused
from hizala.engines.rollout.vllm.inprocess import missing
from hizala.engines.rollout.vllm.requests import Request
from hizala.engines.rollout.vllm.settings import ENVIRONMENT, EngineSettings
from hizala.errors import ConfigError, TrainError
from hizala.records import Sample

GENERATE = "/inference/v1/generate"  # tokens in, tokens out: no text is made on the way
_LOOK = 0.25  # seconds between looks at a server that works
_TOLD = 12  # last lines of the server's log that an error shows
_CAUSE = re.compile(r"\(EngineCore.*\b\w+(?:Error|Exception): ")
# What torchrun tells the trainer's processes of each other is not for the server.
_TRAINERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "GROUP_RANK", "MASTER_ADDR", "MASTER_PORT")
_COUNTED = re.compile(r"^vllm:(?:generation|prompt)_tokens_total\S* (\S+)$", re.MULTILINE)


class Server:
    """An engine behind vLLM's HTTP server. See `requests.Engine`.

    It listens on a socket file in a directory only this user can enter: its routes for weights ask for no key, so a
    port would be open to everyone on the machine. A guard process ends it whenever this process ends.

    Args:
        settings: what it is started with.
        store: private directory for the socket, the log and the weights.
        threads, patience, limit, restarts: see `VllmSampler`.
    Raises:
        ConfigError: vLLM is not installed.
        TrainError: the server does not start.
    """

    def __init__(
        self,
        settings: EngineSettings,
        store: Path,
        *,
        threads: int | None,
        patience: float,
        limit: float,
        restarts: int,
    ) -> None:
        if find_spec("vllm") is None:
            raise missing()
        self.settings, self.store, self.threads = settings, store, threads
        self.patience, self.limit, self.most = patience, limit, restarts
        self.restarts, self.length, self.lost = 0, 0, ""
        self._weights, self._version, self._written = settings.directory, 0, 0
        self._key = secrets.token_hex(16)
        self._guard: subprocess.Popen[bytes] | None = None
        self._pipe = -1
        self._client = Client(store / "socket", self._key)
        self._start()

    def generate(
        self, requests: Sequence[Request], n: int, sampling: Mapping[str, Any], done: Callable[[int], None]
    ) -> dict[int, list[Sample]]:
        """See `Engine.generate`. What a lost server had not answered is asked again, with the same seeds."""
        found: dict[int, list[Sample]] = {}
        before = self.restarts
        while pending := [r for r in requests if r.index not in found]:
            self._round(pending, n, sampling, found, lambda: done(len(found)))
            if len(found) < len(requests):
                self._again(before)
        return found

    def load(self, tensors: Mapping[str, Tensor], version: int) -> dict[str, Any]:
        """See `Engine.load`. The weights are written first: they are what a restart begins with."""
        old = self._weights
        self._weights, self._version = self._write(tensors), version
        before = self.restarts
        while True:
            try:
                answer = self._load()
                break
            except Lost as error:
                self.lost = str(error)
                self._again(before)
        if old != self.settings.directory:
            shutil.rmtree(old, ignore_errors=True)
        return answer

    def probe(self, ids: Sequence[int]) -> list[float]:
        """See `Engine.probe`."""
        asked = {"max_tokens": 1, "temperature": 0.0, "prompt_logprobs": 0, "detokenize": False}
        body = {"token_ids": list(ids), "sampling_params": asked}
        before = self.restarts
        while True:
            try:
                answer = self._client.post(GENERATE, body, timeout=self.limit)
                break
            except Lost as error:
                self.lost = str(error)
                self._again(before)
        found = answer["prompt_logprobs"][1:]
        return [float(at[str(token)]["logprob"]) for at, token in zip(found, ids[1:], strict=True)]

    def close(self) -> None:
        """See `Engine.close`: the server is asked to end, then made to."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        os.close(self._pipe)
        try:
            guard.wait(15)
        except subprocess.TimeoutExpired:
            _kill(guard)

    @property
    def pid(self) -> int:
        """Process id of the guard, which leads the process group of the server."""
        if self._guard is None:
            raise TrainError("the sampler was closed", fix="make another one")
        return self._guard.pid

    def _start(self) -> None:
        socket = self.store / "socket"
        socket.unlink(missing_ok=True)
        reading, self._pipe = os.pipe()
        command = [
            sys.executable,
            "-m",
            "hizala.engines.rollout.vllm.guard",
            str(reading),
            str(self.store),
            sys.executable,
        ]
        command += ["-m", "vllm.entrypoints.openai.api_server", f"--uds={socket}", "--tokens-only"]
        started_from = {f"--model={self.settings.directory}": f"--model={self._weights}"}
        command += [started_from.get(flag, flag) for flag in self.settings.flags()]
        # The key goes through the environment: a command line can be read by everyone.
        inherited = {name: value for name, value in os.environ.items() if name not in _TRAINERS}
        environment = {**inherited, **ENVIRONMENT, "VLLM_SERVER_DEV_MODE": "1", "VLLM_API_KEY": self._key}
        environment.setdefault("VLLM_LOGGING_LEVEL", "WARNING")
        if self.settings.eager:
            environment["TORCH_COMPILE_DISABLE"] = "1"
        if self.threads is not None:
            environment["OMP_NUM_THREADS"] = str(self.threads)
        with (self.store / "log").open("ab") as log:
            self._guard = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=(reading,),
                start_new_session=True,
            )
        os.close(reading)
        self._wait()

    def _wait(self) -> None:
        """Until it answers. Raises TrainError where it ends first, or takes longer than `limit`."""
        deadline = time.monotonic() + self.limit
        while True:
            if self._guard is None or self._guard.poll() is not None:
                raise self._failed("vLLM's server ended while it was starting")
            try:
                self._client.get("/health", timeout=5)
                models = self._client.get("/v1/models", timeout=5)
                self._client.post("/collective_rpc", {"method": "hizala_follow"}, timeout=5)
                break
            except Lost:
                pass
            if time.monotonic() > deadline:
                self._kill()
                raise self._failed(f"vLLM's server was not ready after {self.limit:g} s")
            time.sleep(_LOOK)
        lengths = re.findall(r'"max_model_len":\s*(\d+)', models)
        self.length = int(lengths[0]) if lengths else int(self.settings.length or 0)

    def _round(
        self,
        requests: Sequence[Request],
        n: int,
        sampling: Mapping[str, Any],
        found: dict[int, list[Sample]],
        done: Callable[[], None],
    ) -> None:
        """Ask once for each; put the answers into `found`; kill a server that hangs. Lost requests are left out."""

        def ask(request: Request) -> list[Sample]:
            asked = {"n": n, "max_tokens": request.most, "seed": request.seed, "detokenize": False, **sampling}
            body = {"token_ids": list(request.prompt), "sampling_params": asked}
            return _samples(self._client.post(GENERATE, body), n)

        # Enough to keep all rows busy: a request is n rows.
        with ThreadPoolExecutor(max(1, min(len(requests), 2 * self.settings.rows // n + 1, 128))) as pool:
            waiting: dict[Future[list[Sample]], Request] = {pool.submit(ask, r): r for r in requests}
            watch = _Watch(self)
            try:
                while waiting:
                    ready, _ = wait(waiting, timeout=_LOOK, return_when=FIRST_COMPLETED)
                    lost = False
                    for future in ready:
                        request = waiting.pop(future)
                        try:
                            found[request.index] = future.result()
                            watch.moved()
                        except Lost as error:
                            lost, self.lost = True, str(error)
                        except Refused as error:
                            raise ConfigError(f"vLLM refused a request: {error}") from error
                    if ready:
                        done()
                    if lost or not watch.alive():
                        # Whatever it still answers is of no use: end it, and every open request ends with it.
                        self._kill()
                        return
            finally:
                for future in waiting:
                    future.cancel()

    def _load(self) -> dict[str, Any]:
        body = {"method": "hizala_load", "args": [str(self._weights), self._version]}
        try:
            answer: dict[str, Any] = self._client.post("/collective_rpc", body, timeout=self.limit)["results"][0]
            self._client.post("/reset_prefix_cache", timeout=self.limit)
        except Refused as error:
            raise TrainError(f"vLLM refused the weights: {error}") from error
        return answer

    def _again(self, before: int) -> None:
        """Start it again with the weights it had. Raises TrainError after `restarts` of them since `before`."""
        self._kill()
        if self.restarts - before >= self.most:
            raise self._failed(f"vLLM's server was lost {self.most + 1} times in one call, last with '{self.lost}'")
        self.restarts += 1
        self._start()

    def _kill(self) -> None:
        if self._guard is not None:
            _kill(self._guard)
            os.close(self._pipe)
            self._guard = None

    def _write(self, tensors: Mapping[str, Tensor]) -> Path:
        """The weights beside the model's other files, in a directory of their own."""
        self._written += 1
        directory = self.store / f"weights-{self._written}"
        directory.mkdir()
        for path in self.settings.directory.iterdir():
            if ".safetensors" not in path.name:
                (directory / path.name).symlink_to(path)
        held = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        save_file(held, directory / "model.safetensors", metadata={"format": "pt"})
        return directory

    def _failed(self, message: str) -> TrainError:
        try:
            lines = (self.store / "log").read_text("utf-8", "replace").splitlines()
        except OSError:
            lines = []
        # The engine's own error stands far above: the API's, which follow from it, come last.
        lines = [line for line in lines[:-_TOLD] if _CAUSE.search(line)][-2:] + lines[-_TOLD:]
        told = "\n    ".join(line.replace(self._key, "…") for line in lines)
        return TrainError(f"{message}; the end of its log:\n    {told}" if told else message)


class _Watch:
    """Whether a server that has work goes on: it answers, and the number of tokens it has computed grows."""

    def __init__(self, server: Server) -> None:
        self._server, self._seen = server, -1.0
        self._last = self._looked = time.monotonic()

    def moved(self) -> None:
        """A request was answered."""
        self._last = time.monotonic()

    def alive(self) -> bool:
        """False once it has ended, or has done nothing for `patience` seconds."""
        server, now = self._server, time.monotonic()
        if server._guard is None or server._guard.poll() is not None:
            server.lost = "it ended"
            return False
        if now - self._looked >= min(2.0, server.patience / 4):
            try:
                counted = sum(map(float, _COUNTED.findall(server._client.get("/metrics", timeout=server.patience / 4))))
                if counted != self._seen:
                    self._seen = counted
                    self.moved()
            except (Lost, Refused):
                pass
            self._looked = time.monotonic()
        if time.monotonic() - self._last < server.patience:
            return True
        server.lost = f"no new token in {server.patience:g} s"
        return False


def _samples(answer: Mapping[str, Any], n: int) -> list[Sample]:
    choices = sorted(answer["choices"], key=lambda choice: choice["index"])
    if len(choices) != n:
        raise Lost(f"{len(choices)} responses instead of {n}")
    samples = []
    for choice in choices:
        if choice["finish_reason"] not in ("stop", "length"):
            raise Lost(f"a response ended with '{choice['finish_reason']}'")
        content = choice["logprobs"]["content"]
        ids, logps = tuple(int(at["token_id"]) for at in content), tuple(float(at["logprob"]) for at in content)
        samples.append(Sample(ids, logps, choice["finish_reason"] == "length"))
    return samples


def _kill(guard: subprocess.Popen[bytes]) -> None:
    """End the whole process group at once."""
    with suppress(ProcessLookupError):
        os.killpg(guard.pid, signal.SIGKILL)
    guard.wait()
