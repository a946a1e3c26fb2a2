import json
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from evolvent.records import (
    Cell,
    Episode,
    Estimate,
    Fault,
    Message,
    Origin,
    Outcome,
    Private,
    Reference,
    Report,
    Sampling,
    Score,
    Task,
    Text,
    ToolCall,
    ToolResult,
    Trace,
    Turn,
    said,
)
from evolvent.seeds import stream
from evolvent.store import Run, write_text
from evolvent.store.page import write_report_page

MARKS = [f"<|{m}|>" for m in ("pad", "end", "system", "user", "assistant", "tool", "tools", "call", "end_call")]
PLAN = {
    "is": "evolvent.plans:Improve",
    "model": {"is": "evolvent.models:ModelSpec", "depth": 3, "position": "rotary"},
    "source": {"is": "evolvent.tasks:Several", "families": ["chained", "bases"], "level": 2},
    "loss": {"is": "evolvent.training:PolicyLoss", "gain": {"is": "evolvent.training:Clip", "low": 0.2, "high": 0.28}},
    "num_steps": 60,
    "suite": None,
}


def tokens_of(text: str) -> tuple[int, ...]:
    """Bytes, and marks from 256 on: the same ids that the byte-level tokenizer gives."""
    parts = re.split("(" + "|".join(map(re.escape, MARKS)) + ")", text)
    return tuple(t for p in parts for t in ([256 + MARKS.index(p)] if p in MARKS else p.encode()))


def write_tokenizer(folder: Path) -> None:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in printable]
    letters = {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(hidden)}
    added = [{"id": 256 + i, "content": mark, "special": True} for i, mark in enumerate(MARKS)]
    kept = {"added_tokens": added, "model": {"type": "BPE", "vocab": {letters[b]: b for b in letters}, "merges": []}}
    write_text(folder / "agent" / "tokenizer.json", json.dumps(kept))


def turn(role: str, text: str, message: Message, place: int, step: int) -> Turn:
    tokens = tokens_of(text)
    own = role == "assistant"
    rng = stream(1, step, place)
    lp = tuple(-(rng.random() ** 3) for _ in tokens) if own else ()
    return Turn(
        f"u{place}", None, "agent", place, message, tokens, (own,) * len(tokens), lp, lp, f"c{place}" if own else "",
        step if own else -1, ("tool_calls" if message.calls else "stop") if own else "", Sampling(64) if own else None,
    )  # fmt: skip


def episode(step: int, place: int, is_right: bool, outcome: Outcome = Outcome.OK) -> tuple[Episode, list[float]]:
    a, b, c = 13 + place, 7 + step, 5
    question = f"Start with {a}. Add {b}. Multiply by {c}. What is left? <×>"
    value = (a + b) * c
    answer = str(value if is_right else value + 10)
    call = ToolCall("calculator", {"expression": f"({a}+{b})*{c}"}, f"({a}+{b})*{c}")
    prompt = said("user", question)
    turns = (
        turn("user", f"<|tools|>calculator<|user|>{question}<|assistant|>", prompt, 0, step),
        turn("assistant", f"<|call|>({a}+{b})*{c}<|end_call|>", Message("assistant", (call,)), 1, step),
        turn(
            "tool",
            f"<|tool|>{answer}<|assistant|>",
            Message("tool", (ToolResult("calculator", answer),)),
            2,
            step,
        ),
        turn("assistant", f"{answer}<|end|>", said("assistant", answer), 3, step),
    )
    family = "chained" if place % 3 else "bases"
    secret = Private(f"secret-{value}")
    task = Task(
        f"{family}:{step}:{place}", family, 1 + place % 4, (prompt,), secret, Reference("m:f"), Origin("generator")
    )
    score = Score(float(is_right), {"exact": float(is_right)}, "the answer is right" if is_right else "another number")
    fault = None if outcome.carries_reward else Fault("Timeout", "the worker did not answer in 5 s", "calculator")
    trace = Trace(
        task.task_id, place, "agent", "agent", turns, outcome, "per turn" if outcome is Outcome.AGENT_FAILED else "",
        fault, score if outcome.carries_reward else None,
    )  # fmt: skip
    worth = (0.9 if is_right else -0.6) * (1 if outcome is Outcome.OK else 0.5)
    credit = [worth * (1 - 0.5 * (i % 7 == 0)) if m else 0.0 for i, m in enumerate(trace.mask)]
    return Episode(f"e{step}-{place}", task, place, (trace,), answer), credit


def report(name: str, step: int, lift: float, shift: float = 0.0) -> Report:
    rng = stream(5, name)
    cells = []
    for family in ("bases", "chained"):
        for level in range(1, 6):
            mean = min(0.97, max(0.02, 0.5 + lift - 0.11 * level + (0.1 if family == "chained" else 0)))
            scores = tuple(float(rng.random() < mean) for _ in range(64))
            ids = tuple(f"{family}:{level}:{i}" for i in range(64))
            cells.append(Cell(family, level, ids, scores, scores, scores, scores, scores))
    value = min(0.95, 0.35 + lift + shift)
    metrics = {
        "sampled": Estimate(value, value - 0.04, value + 0.04, 512),
        "tool_use": Estimate(0.5 + lift, 0.45 + lift, min(1.0, 0.55 + lift), 512),
        "accuracy_given_tool": Estimate(0.62 + lift / 3, 0.57 + lift / 3, 0.66 + lift / 3, 300),
        "length": Estimate(31.0, 30.0, 32.0, 512),
    }
    return Report(step, name, tuple(cells), metrics if "-" not in name else {"sampled": metrics["sampled"]})


SUMMARY = {
    "seconds": 241.3,
    "before": {"sampled": 0.35, "greedy": 0.4, "tool_use": 0.5, "accuracy_given_tool": 0.62},
    "after": {"sampled": 0.79},
    "difference": {"value": 0.44, "low": 0.39, "high": 0.49},
    "levels": [
        {"family": "chained", "level": n, "start": n == 2, "in_cold_start": n <= 2, "reached": n in (3, 4)}
        | {"before": 0.4 - 0.05 * n}
        | ({"after": None, "low": None, "high": None} if n == 5 else {"after": 0.9 - 0.08 * n, "low": 0.3, "high": 0.5})
        for n in range(1, 6)
    ],
}  # fmt: skip


def make_run(folder: Path, num_steps: int = 60, per_step: int = 8) -> Run:
    """A run as the loop would leave it, written through the real store."""
    run = Run.create(json.dumps(PLAN), "improve", 0, folder)
    cold = num_steps // 5
    for step in range(1, num_steps + 1):
        practised = max(0, step - cold) / (num_steps - cold)
        wobble = math.sin(step * 2.1) * 0.05
        line = {"loss": 2.0 * math.exp(-step / 9) + 0.05 + wobble / 5, "grad_norm": 0.8 + wobble}
        line |= {"num_tokens": 9000 + step, "num_episodes": 128}
        if step <= cold:
            run.log(step, {**line, "phase": "cold start"})
            run.time(step, {"update_s": 1.1, "total_s": 1.2})
        else:
            run.log(step, {**line, **practice(practised, wobble), "phase": "practice"})
            run.time(step, {"play_s": 1.9, "score_s": 0.05, "update_s": 1.3, "evaluate_s": 0.4, "total_s": 3.7})
            keep_attempts(run, step, per_step, practised)
        if step > cold and step % 8 == 0:
            run.log(step, {"heldout/accuracy": 0.35 + 0.42 * practised, "heldout/tool_use": min(1.0, 0.52 + practised)})
    run.keep_checkpoint(num_steps, write_tokenizer)
    for name, lift, shift in REPORTS:
        run.keep_report(report(name, num_steps if "after" in name else cold, lift, shift))
    return run


REPORTS = (
    ("before", 0.0, 0.0),
    ("after", 0.44, 0.0),
    ("greedy-before", 0.0, 0.06),
    ("greedy-after", 0.44, 0.05),
    ("tool-forced", 0.2, 0.0),
    ("best-of-k", 0.4, 0.0),
    ("sft-control", 0.12, 0.0),
)


def practice(practised: float, wobble: float) -> dict[str, object]:
    drawn = {n: max(0, round(9 - 6 * abs(n - 1 - 4 * practised))) for n in range(1, 6)}
    return {
        "reward_mean": 0.3 + 0.5 * practised + wobble,
        "accuracy": 0.35 + 0.4 * practised + wobble,
        "tool_use": min(1.0, 0.5 + practised),
        "entropy": 0.9 - 0.5 * practised,
        "length_mean": 40 - 12 * practised + wobble * 20,
        "signal_share": 0.7 - 0.3 * practised,
        "kl_sampler_trainer": 1e-6 * (1 + wobble),
        "truncated_share": 0.05 * (1 - practised),
        "levels": {f"{family}:{n}": num for family in ("chained", "bases") for n, num in drawn.items()},
    }


def keep_attempts(run: Run, step: int, per_step: int, practised: float) -> None:
    last = Outcome.INFRASTRUCTURE_FAILED if step % 9 == 0 else Outcome.OK
    kinds = [*[Outcome.OK] * (per_step - 2), Outcome.AGENT_FAILED, last]
    made = [episode(step, i, (i * 7 + step) % 10 < 3 + 6 * practised, kind) for i, kind in enumerate(kinds)]
    run.keep_episodes(step, [e for e, _ in made], credit={(e.episode_id, "agent"): c for e, c in made})


class Reader(HTMLParser):
    """Which tags are open, which addresses are named, and which words stand on the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.words = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [v or "" for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        if tag not in ("meta", "br", "line", "rect", "circle", "polyline"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("line", "rect", "circle", "polyline") and self.open[-1] != tag:
            return
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_report_page(make_run(tmp_path_factory.mktemp("p") / "improve-0-1", num_steps=24), SUMMARY).read_text()


def test_the_page_is_well_formed_and_stands_alone(page: str) -> None:
    read = Reader(page)
    assert read.open == [] and read.addresses == []
    assert not {"script", "link", "img", "iframe"} & set(read.tags)
    assert "http" not in page and "url(" not in page and "@import" not in page
    assert len(page) < 3_000_000


def test_the_page_says_what_was_found(page: str) -> None:
    words = Reader(page).words
    for said_ in ("35.0", "79.0", "+44.0", "+39.0 to +49.0", "got better", "cold start", "tool forced", "best of k"):
        assert said_ in words, said_
    for said_ in ("Right", "Wrong", "Agent failed", "Infrastructure failed", "Timeout", "cut off: per turn"):
        assert said_ in words, said_
    for said_ in ("Improve", "num_steps", "0.28", "python", "4 min 01 s", "in the cold start", "reached"):
        assert said_ in words, said_


def test_the_answers_that_judge_are_not_on_the_page(page: str) -> None:
    assert "secret-" not in page


def test_tokens_carry_their_writer_log_probabilities_and_credit(page: str) -> None:
    own = re.findall(r'<span class="w-policy( mark)?" data-t="([^"]*)"', page)
    assert any(mark for mark, _ in own) and len(own) > 200
    assert re.search(r"token 263, log-prob -0\.\d+ sampled, -0\.\d+ model, credit [+-]0\.\d+", own[0][1])
    assert '<span class="w-tool">' in page
    assert "What is left? &lt;×&gt;" in page, "letters of several bytes are put together, and words are escaped"


def test_a_run_that_has_only_begun_still_has_a_page(tmp_path: Path) -> None:
    run = Run.create('{"num_steps": 3}', "improve", 0, tmp_path / "r")
    words = Reader(write_report_page(run).read_text()).words
    assert "Nothing has been measured yet" in words and "No episodes were kept" in words
    run.log(1, {"phase": "practice", "loss": 0.5, "reward_mean": None, "levels": {}})
    run.keep_report(replace(report("before", 1, 0.0), cells=()))
    words = Reader(write_report_page(run).read_text()).words
    assert "not measured yet" in words and "stopped early" in words


def test_a_broken_part_is_said_and_does_not_hide_the_rest(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", num_steps=10, per_step=4)
    (run.path / "metrics.jsonl").write_text('{"step": 1\n{"step": 2}\n')
    (run.path / "reports" / "step-000002-before.json").write_text("{")
    (run.path / "plan.json").write_text("{")
    words = Reader(write_report_page(run).read_text()).words
    assert "line 1 of metrics.jsonl is broken" in words and "the report is broken" in words
    assert "plan.json could not be read" in words and "Right" in words


def test_without_a_tokenizer_whole_turns_are_shown(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", num_steps=10, per_step=4)
    (run.path / "checkpoints" / "step-000010" / "agent" / "tokenizer.json").unlink()
    page = write_report_page(run).read_text()
    assert "[calls calculator (" in page and "mean credit" in page


def test_words_of_a_model_cannot_become_part_of_the_page(tmp_path: Path) -> None:
    run = Run.create("{}", "improve", 0, tmp_path / "r")
    made, _ = episode(1, 0, True)
    evil = "</div><script>alert(1)</script>\x00\x1b\n\"'&"
    trace = made.traces[0]
    turns = (replace(trace.turns[0], message=Message("user", (Text(evil),))),)
    run.keep_episodes(1, [replace(made, answer=evil, traces=(replace(trace, turns=turns),))])
    run.log(1, {"levels": {f"{evil}:1": 3, f"b{evil}:2": 1}, f"heldout/{evil}": 0.5})
    page = write_report_page(run).read_text()
    assert "<script" not in page and "\x00" not in page and "\x1b" not in page
    assert Reader(page).open == []


def test_the_same_run_gives_the_same_page(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r", num_steps=10, per_step=4)
    assert write_report_page(run).read_bytes() == write_report_page(run).read_bytes()


def test_the_kept_summary_is_used_where_none_is_given(tmp_path: Path) -> None:
    run = Run.create("{}", "improve", 0, tmp_path / "r")
    write_text(run.path / "summary.json", json.dumps({**SUMMARY, "verdict": "strategy, not skill"}))
    words = Reader(write_report_page(run).read_text()).words
    assert "strategy, not skill" in words and "79.0" in words and "stopped early" not in words


def test_a_difference_without_interval_makes_no_claim(tmp_path: Path) -> None:
    run = Run.create("{}", "improve", 0, tmp_path / "r")
    for name, lift in (("before", 0.0), ("after", 0.44)):
        run.keep_report(report(name, 1, lift))
    words = Reader(write_report_page(run).read_text()).words
    assert "+44.0" in words and "makes no claim" in words and "no interval" in words
    changed = {**SUMMARY, "difference": {"value": -0.1, "low": -0.2, "high": -0.05}}
    assert "got worse" in Reader(write_report_page(run, changed).read_text()).words
    changed["difference"] = {"value": 0.1, "low": -0.2, "high": 0.3}
    assert "No change can be claimed" in Reader(write_report_page(run, changed).read_text()).words
