"""A vLLM server as the sampling side of a trainable policy: ids in, ids out, weights by way of a shared folder."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evolvent.errors import BadInput, InfrastructureError, StoreError
from evolvent.policies.sampler import Bounds, Drawn, both_kinds, plain_weights
from evolvent.policies.vllm import SCORING, sampling_fields
from evolvent.records import Prompt, Sampling

if TYPE_CHECKING:
    import httpx

    from evolvent.policies.local import LocalPolicy

START = (
    "VLLM_SERVER_DEV_MODE=1 vllm serve MODEL --enable-scale-out --logprobs-mode processed_logprobs "
    "--generation-config vllm"
)


@dataclass(frozen=True, slots=True)
class VllmServer:
    """A server at `url` (without /v1), started with the words of START; docs/scale.md has them for each set-up.

    Weights are written to `folder`, which the server sees under the same path; None is a folder of this machine, in
    memory where that is possible.
    """

    url: str
    folder: str | None = None
    api_key_env: str | None = None
    max_concurrent: int = 256
    timeout_s: float = 600.0
    bounds: Bounds = Bounds()

    def __post_init__(self) -> None:
        if not re.match(r"https?://[^/@\s]+(/[^@\s]*)?$", self.url) or self.max_concurrent < 1 or self.timeout_s <= 0:
            raise BadInput(
                "no server can be asked so",
                where="sampler",
                got=f"url={re.sub(r'//[^/@]*@', '//[key]@', self.url)} max_concurrent={self.max_concurrent} "
                f"timeout_s={self.timeout_s:g}",
                wanted="http(s)://host:port without a key, at least one request at a time, and a positive time",
            )

    def begin(self, source: LocalPolicy) -> LiveVllmServer:
        """The server, once it has said that it can do what is needed."""
        return LiveVllmServer(source, self)


class LiveVllmServer:
    """A server, and the folder through which it is given weights."""

    name = "vllm server"

    def __init__(self, source: LocalPolicy, plan: VllmServer) -> None:
        self.plan, self.url = plan, plan.url.rstrip("/").removesuffix("/v1")
        model = self._read_config(self._ask_about_itself())
        self.dtype = str(model["dtype"]).removeprefix("torch.")
        self.max_context = min(source.max_context, int(model["max_model_len"]))
        self._room = _open_room(plan.folder)
        self._folder = Path(self._room.name)
        self._folder.chmod(0o755)  # the server may be another user

    def _ask_about_itself(self) -> Any:
        import httpx

        path = "/server_info?config_format=json"
        try:
            reply = httpx.get(self.url + path, headers=self._headers(), timeout=30)
        except httpx.HTTPError as error:
            raise InfrastructureError(
                "no vLLM server answers there",
                where=self.url,
                got=f"{type(error).__name__}: {error}",
                wanted="a server that runs",
                cure=f"start it: {START}",
            ) from error
        return self._read(path, reply)

    def _read_config(self, found: Any) -> dict[str, Any]:
        config = found.get("vllm_config") if isinstance(found, dict) else None
        model = config.get("model_config") if isinstance(config, dict) else None
        if not isinstance(model, dict) or "dtype" not in model or "max_model_len" not in model:
            raise self._unfit(f"no model_config in /server_info: {str(found)[:200]}")
        if model.get("logprobs_mode") != "processed_logprobs":
            raise self._unfit(f"--logprobs-mode {model.get('logprobs_mode')}")
        return model

    async def take(self, source: LocalPolicy, mark: str) -> None:
        """See Sampler."""
        fresh = self._folder / re.sub(r"[^\w.@-]", "_", mark)
        _write(source, fresh)
        async with self._open() as client:
            await self._tell(client, "/pause?mode=wait")
            try:
                words = {"method": "reload_weights", "kwargs": {"weights_path": str(fresh)}}
                await self._tell(client, "/collective_rpc", words)
                # what was computed with the former weights would be read as if it were theirs
                dropped = await self._tell(client, "/reset_prefix_cache")
                if not dropped.get("success"):
                    raise self._broken(f"/reset_prefix_cache: {dropped}")
                await self._tell(client, "/update_weight_version", {"new_version": mark})
            finally:
                await self._tell(client, "/resume")
        for former in self._folder.iterdir():
            if former != fresh:
                shutil.rmtree(former)

    async def draw(self, prompts: Sequence[Prompt], how: Sampling, stop_ids: Collection[int]) -> list[Drawn]:
        """See Sampler."""
        asked = [
            {"token_ids": list(p.tokens or ()), "sampling_params": sampling_fields(p, how, stop_ids)} for p in prompts
        ]
        return [self._drawn(body["choices"][0], how) for body in await self._generate(asked)]

    def _drawn(self, choice: dict[str, Any], how: Sampling) -> Drawn:
        tokens = tuple(choice["token_ids"])
        entries = (choice.get("logprobs") or {}).get("content") or ()
        if tuple(e["token_id"] for e in entries) != tokens:
            raise self._broken(f"{len(tokens)} tokens and log-probabilities of {len(entries)} others")
        marks = {span["version"] for span in choice.get("weight_versions") or ()}
        mark = marks.pop() if len(marks) == 1 else f"{len(marks)} marks"
        logprobs = tuple(float(e["logprob"]) for e in entries)
        return Drawn(tokens, *both_kinds(logprobs, how), mark, isinstance(choice.get("stop_reason"), str))

    async def score(self, rows: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """See Sampler."""
        bodies = await self._generate([{"token_ids": list(row), "sampling_params": SCORING} for row in rows])
        return [
            tuple(float(place[str(t)]["logprob"]) for place, t in zip(b["prompt_logprobs"][1:], row[1:], strict=True))
            for b, row in zip(bodies, rows, strict=True)
        ]

    async def _generate(self, asked: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """One answer per request, in order; the first that fails ends the others."""
        async with self._open() as client:
            tasks = [asyncio.ensure_future(self._tell(client, "/inference/v1/generate", words)) for words in asked]
            try:
                return list(await asyncio.gather(*tasks))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _open(self) -> httpx.AsyncClient:
        import httpx

        limits = httpx.Limits(max_connections=self.plan.max_concurrent)
        # a request waits here for its turn, and its time begins when the server has it
        timeout = httpx.Timeout(self.plan.timeout_s, pool=None)
        checks = self.url.startswith("https")  # reading certificates takes longer than a short request
        return httpx.AsyncClient(timeout=timeout, limits=limits, headers=self._headers(), verify=checks)

    async def _tell(self, client: httpx.AsyncClient, path: str, words: dict[str, Any] | None = None) -> dict[str, Any]:
        import httpx

        try:
            reply = await client.post(self.url + path, json=words)
        except httpx.HTTPError as error:
            raise self._broken(f"{path}: {type(error).__name__}: {error}") from error
        return self._read(path, reply)

    def _read(self, path: str, reply: httpx.Response) -> dict[str, Any]:
        """The body, or why there is none: a server that was started otherwise, or one that broke."""
        if reply.status_code in (401, 403, 404, 405):
            raise self._unfit(f"{path}: HTTP {reply.status_code}: {reply.text.strip()[:200]}")
        try:
            body = reply.json()
        except ValueError:
            body = None
        if reply.status_code != 200 or not isinstance(body, dict):
            raise self._broken(f"{path}: HTTP {reply.status_code}: {reply.text.strip()[:300]}")
        return body

    def _headers(self) -> dict[str, str]:
        name = self.plan.api_key_env
        if name is None:
            return {}
        if not os.environ.get(name, "").strip():
            raise BadInput(f"the environment variable {name} is empty", where=self.url, cure=f"export {name}=...")
        return {"Authorization": f"Bearer {os.environ[name].strip()}"}

    def _unfit(self, got: str) -> BadInput:
        return BadInput(
            "this vLLM server was not started for training",
            where=self.url,
            got=got,
            wanted="vLLM 0.32 or newer, with ways to change its weights and to take token ids",
            cure=f"start it so, and keep it from strangers: {START}",
        )

    def _broken(self, got: str) -> InfrastructureError:
        return InfrastructureError(
            "the vLLM server gave no answer",
            where=self.url,
            got=got,
            wanted=f"an answer within {self.plan.timeout_s:g} s",
            cure="start it again and go on with `evolvent run --resume RUN`, which gives it the weights of the last "
            "checkpoint; where its memory ran out, lower its --gpu-memory-utilization or --max-num-seqs",
        )

    def close(self) -> None:
        """The folder goes; the server is not ours to end."""
        self._room.cleanup()


def _open_room(home: str | None) -> tempfile.TemporaryDirectory[str]:
    """A folder for weights on their way, which goes with this process."""
    if home is not None and not os.access(home, os.W_OK):
        raise BadInput("nothing can be written there", where="sampler.folder", got=home, wanted="a folder that exists")
    memory = "/dev/shm"
    found = home or (memory if os.access(memory, os.W_OK) else None)
    return tempfile.TemporaryDirectory(prefix="evolvent-weights-", dir=found)


def _write(source: LocalPolicy, folder: Path) -> None:
    """All weights by name in one file. What is tied stands there twice: a reload leaves out what it is not given."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    folder.mkdir()
    whole = {name: weight.cpu().clone().contiguous() for name, weight in plain_weights(source).items()}
    try:
        save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    except (OSError, SafetensorError) as error:
        raise StoreError(
            "the weights could not be handed to the server",
            where=str(folder),
            got=str(error),
            cure="free some space there, or name a larger folder that the server sees too: sampler.folder",
        ) from error
