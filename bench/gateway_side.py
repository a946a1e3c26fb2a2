"""Runs in a process of its own: a server over random weights, and the same sampling bare, one line in, one line out."""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    """Serve, say where, then sample bare or tell the processor time whenever a line comes."""
    from bench.inputs import our_policy
    from evolvent.serve import PolicyDesk, background, make_app

    policy = our_policy(Path(sys.argv[1]), "float32")
    desk = PolicyDesk(policy, policy.renderer, "bench")
    with background(make_app(desk)) as url:
        answer({"url": url})
        for line in sys.stdin:
            told = json.loads(line)
            spent = desk.queue.submit(lambda told=told: bare(policy, told)).result() if told else {}
            used = resource.getrusage(resource.RUSAGE_SELF)
            answer({**spent, "cpu_s": used.ru_utime + used.ru_stime})


def bare(policy: Any, told: dict[str, Any]) -> dict[str, float]:
    """How long the policy itself takes for as many rows of the same prompts, and its processor time."""
    from evolvent.records import Prompt, Sampling, said

    rows = [
        Prompt((), tokens=policy.renderer.open([said("user", words)]), stream=("bare", i))
        for i, words in enumerate(told["words"])
    ]
    start_s, start_cpu_s = time.perf_counter(), time.thread_time()
    made = policy.sample_now(rows, Sampling(told["new"], seed=1))
    spent = {"bare_s": time.perf_counter() - start_s, "bare_cpu_s": time.thread_time() - start_cpu_s}
    policy.forget()
    assert all(len(completion.tokens) == told["new"] for completion in made)
    return spent


def answer(words: dict[str, Any]) -> None:
    """One line to whoever asked; marked, because libraries print as well."""
    print("answer " + json.dumps(words), flush=True)


if __name__ == "__main__":
    main()
