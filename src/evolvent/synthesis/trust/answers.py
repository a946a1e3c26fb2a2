"""Plays right, wrong, empty and hostile answers at the tasks of a cell, and takes down what the judge makes of them."""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evolvent.evals.metrics import wilson
from evolvent.records import Message, Task
from evolvent.synthesis.screening import ALTERNATIVE, ANNOUNCED, answer_leaks
from evolvent.synthesis.screening import plain as spaced
from evolvent.synthesis.trust.attacks import AT_LEAST, CONSTANTS, ECHO, NONSENSE, attacks, nothing_done
from evolvent.synthesis.trust.bench import Bench, Played, answering
from evolvent.synthesis.trust.bench import Script as ScriptOf
from evolvent.synthesis.trust.forms import HEDGES, MAY_BE_RIGHT, SEVERAL_RIGHT, equal_forms, says, wrong_forms
from evolvent.synthesis.trust.verdict import Ledger

NUM_OTHERS = 8  # answers to other tasks that guessers try at each


@dataclass(frozen=True, slots=True)
class Known:
    """What is right at a task: the words, what must be done before they count, and whether words count at all."""

    task: Task
    answer: str
    acts: tuple[Message, ...]
    words_count: bool


class Answers:
    """The checks that need nothing but answers."""

    def __init__(self, bench: Bench, ledger: Ledger) -> None:
        self.bench, self.ledger = bench, ledger
        self.judged: list[Played] = []

    def try_cell(self, tasks: Sequence[Task]) -> list[Known]:
        """All of them at the tasks of one cell; what came out right, for whoever goes on."""
        known = self.try_oracle(tasks)
        self.try_nothing(tasks)
        self.try_guesses(known)
        self.try_forms(known)
        deaf = {k.task.task_id for k in known if not k.words_count}
        few = self.bench.proof.num_attacked
        for split in ("train", "test"):
            for task in [t for t in tasks if t.split == split][:few]:
                self.try_attacks(task, AT_LEAST if task.task_id in deaf else ())
        self.look_for_leaks(tasks)
        return known

    # ------------------------------------------------------------ right

    def try_oracle(self, tasks: Sequence[Task]) -> list[Known]:
        """Play the worked solution and the bare stored answer of each task; the solution counts where there is one."""
        found: list[Known] = []
        for task in tasks:
            self.ledger.try_one("oracle")
            if task.private is None:
                self.ledger.fail("oracle", task, "the task has no private part: nothing can judge it")
                continue
            solution, answer = task.private.solution, task.private.answer
            scripts = [ScriptOf(task, solution)] if solution else []
            *worked, bare = self.bench.play([*scripts, answering(task, answer)])
            self.judged += [*worked, bare]
            oracle = worked[0] if worked else bare
            if not oracle.is_right:
                what = "the worked solution does not score 1" if worked else "the stored answer does not score 1"
                self.ledger.fail("oracle", task, what + _cut_short(oracle), _told(oracle))
            right = self._known(task, oracle, bare)
            if right is not None:
                found.append(right)
        return found

    def _known(self, task: Task, oracle: Played, bare: Played) -> Known | None:
        assert task.private is not None
        if bare.is_right:
            return Known(task, task.private.answer, (), words_count=True)
        if not oracle.is_right:
            return None
        *acts, last = task.private.solution
        nonsense, silent = self.bench.play([answering(task, NONSENSE, acts), answering(task, last.text)])
        counts = not nonsense.is_right
        # said without having done anything it is right too: then nothing needs to be done
        return Known(task, last.text.strip(), () if silent.is_right else tuple(acts), counts)

    # ------------------------------------------------------------ nothing done

    def try_nothing(self, tasks: Sequence[Task]) -> None:
        """Who does nothing must not be right."""
        named = [(name, answering(task, text)) for task in tasks for name, text in nothing_done(task).items()]
        done = list(zip(named, self._play([s for _, s in named]), strict=True))
        paid = Counter(name for (name, _), played in done if played.is_right)
        for (name, _), played in done:
            self.ledger.try_one("nothing")
            # the last number of a question is now and then the answer, and no fault of anybody's
            by_chance = name == ECHO and 2 * paid[name] < len(tasks)
            if played.is_right and by_chance:
                self.ledger.warn(
                    "nothing", played.script.task, f"{name} scores 1 here, not at most tasks", _told(played)
                )
            elif played.is_right:
                self.ledger.fail("nothing", played.script.task, f"{name} scores 1", _told(played))
            elif played.value is not None:
                self.ledger.most("nothing", "most_paid_for_nothing", played.value)

    def try_guesses(self, known: Sequence[Known]) -> None:
        """The share of tasks that an answer to another one, or one word for all, gets right."""
        pool = list(dict.fromkeys(k.answer for k in known))
        if not known:
            return
        shares: dict[str, int] = dict.fromkeys([*pool, *CONSTANTS], 0)
        tried, right, pairs = 0, 0, []
        for place, k in enumerate(known):
            others = [known[(place + step) % len(known)].answer for step in range(1, min(len(known), NUM_OTHERS + 1))]
            tried, right = tried + len(others), right + sum(o == k.answer for o in others if not k.acts)
            # said without what must be done first, the right answer is a guess like any other
            unlike = {word for word in (*others, *CONSTANTS, k.answer) if k.acts or word != k.answer}
            shares[k.answer] += not k.acts
            pairs += [(k, word, others.count(word)) for word in sorted(unlike)]
        played = self._play([answering(k.task, word) for k, word, _ in pairs])
        for (_, word, times), one in zip(pairs, played, strict=True):
            right += times * one.is_right
            shares[word] += one.is_right
        self._tell_floor(known, tried, right, shares)

    def _tell_floor(self, known: Sequence[Known], tried: int, right: int, shares: Mapping[str, int]) -> None:
        proof, num = self.bench.proof, len(known)
        self.ledger.try_one("floor", tried + len(CONSTANTS) * num)
        self.ledger.add("floor", "guesses", tried)
        self.ledger.add("floor", "guesses_right", right)
        best, times = max(shares.items(), key=lambda pair: pair[1])
        self.ledger.most("floor", "best_single_answer", times / num)
        task, told = known[0].task, f"{best!r} is right at {times} of {num} tasks of {known[0].task.family}"
        if num > 2 and wilson(times, num).low > proof.max_floor:
            self.ledger.fail("floor", None, f"one answer for all tasks of a cell pays: {task.family}", told)
        elif num > 2 and times > 1 and wilson(times, num).low > proof.warn_floor:
            self.ledger.warn("floor", None, f"one answer for all tasks of a cell pays: {task.family}", told)

    # ------------------------------------------------------------ wrong, and right in other words

    def try_forms(self, known: Sequence[Known]) -> None:
        """Wrong answers made from the right one must fail; other forms of it should count."""
        answers = [k.answer for k in known]
        wrong: list[tuple[str, Known, str]] = []
        equal: list[tuple[str, Known, str]] = []
        for place, k in enumerate(known):
            if not k.words_count:
                continue
            others = answers[place + 1 :] + answers[:place]
            wrong += [(name, k, form) for name, form in wrong_forms(k.answer, others).items()]
            if not self._form_counts(k.task):
                equal += [(name, k, form) for name, form in equal_forms(k.answer, k.task.judge.path).items()]
        for (name, _, form), played in zip(wrong, self._play_forms(wrong), strict=True):
            self._tell_wrong(name, form, played)
        for (name, k, form), played in zip(equal, self._play_forms(equal), strict=True):
            self.ledger.try_one("forms")
            self.ledger.add("forms", f"{name}: tried", 1)
            self.ledger.add("forms", f"{name}: counted", played.is_right)
            if not played.is_right:
                self.ledger.warn("forms", k.task, f"{name} does not count", f"{form!r}; {_told(played)}")

    def _play_forms(self, forms: Sequence[tuple[str, Known, str]]) -> list[Played]:
        return self._play([answering(k.task, form, k.acts) for _, k, form in forms])

    def _tell_wrong(self, name: str, form: str, played: Played) -> None:
        task = played.script.task
        self.ledger.try_one("wrong")
        if not played.is_right:
            return
        if name in MAY_BE_RIGHT or (name not in HEDGES and several_right(task)):
            self.ledger.warn("wrong", task, f"{name} counts as right: see that it is", repr(form))
        else:
            self.ledger.fail("wrong", task, f"{name} counts as right", f"{form!r}; {played.why}")

    def _form_counts(self, task: Task) -> bool:
        assert task.private is not None
        return self.bench.proof.form_counts or bool(task.private.data.get("form_counts"))

    # ------------------------------------------------------------ hostile

    def try_attacks(self, task: Task, only: Sequence[str] = ()) -> None:
        """Words to the judge must not score, break it, run, or take long; `only` some where no words count."""
        with tempfile.TemporaryDirectory(prefix="evolvent-trap-") as folder:
            trap = Path(folder) / "sprung"
            answer = task.private.answer if task.private else ""
            named = [(name, text) for name, text in attacks(task, trap).items() if not says(text, answer)]
            named = [(name, text) for name, text in named if not only or name in only]
            done = self._play([answering(task, text) for _, text in named])
            if trap.exists():
                self._find_sprung(task, [(name, text) for name, text in named if str(trap) in text], trap)
        for (name, _), played in zip(named, done, strict=True):
            self.ledger.try_one("attacks")
            self.ledger.most("attacks", "slowest_s", round(played.seconds, 2))
            self._tell_attack(name, played)

    def _find_sprung(self, task: Task, named: Sequence[tuple[str, str]], trap: Path) -> None:
        """Which of the attacks was run: each once more, alone."""
        for name, text in named:
            trap.unlink(missing_ok=True)
            self.bench.play([answering(task, text)])
            if trap.exists():
                self.ledger.fail("attacks", task, f"{name} was run by the judge", text)

    def _tell_attack(self, name: str, played: Played) -> None:
        task = played.script.task
        if played.is_right:
            self.ledger.fail("attacks", task, f"{name} scores 1", _told(played))
        elif played.is_late:
            self.ledger.fail("attacks", task, f"{name} holds the judge up", played.why)
        elif played.value is None and "VerifierError" not in played.fault:
            self.ledger.fail("attacks", task, f"{name} breaks the judge", played.fault)
        elif played.value is None and "a check broke" in played.fault:
            self.ledger.warn("attacks", task, f"{name} breaks the judge, so it costs nothing", played.fault)
        elif played.value is None:
            self.ledger.warn("attacks", task, f"{name} makes the judge give up, so it costs nothing", played.fault)

    # ------------------------------------------------------------ the prompt

    def look_for_leaks(self, tasks: Sequence[Task]) -> None:
        """An announced answer is a leak; one that stands in the prompt at length may be a choice on offer."""
        for task in tasks:
            self.ledger.try_one("leak")
            if not answer_leaks(task):
                continue
            if _is_announced(task):
                self.ledger.fail("leak", task, "the prompt announces the answer", task.question)
            else:
                self.ledger.warn("leak", task, "the answer stands in the prompt: see that it must", task.question)

    def _play(self, scripts: Sequence[ScriptOf]) -> list[Played]:
        played = self.bench.play(scripts)
        self.judged += played
        return played


def _cut_short(played: Played) -> str:
    """Whether the workflow ended before the script did."""
    wanted = len(played.script.words)
    turns = played.episode.traces[0].turns if played.episode else ()
    num = sum(turn.message.role == "assistant" for turn in turns)
    return f": the workflow ended after {num} of its {wanted} turns" if 0 < num < wanted else ""


def several_right(task: Task) -> bool:
    """Whether a task may have right answers beside the stored one, as its check or its private data says."""
    assert task.private is not None
    return task.judge.path in SEVERAL_RIGHT or bool(task.private.data.get("several_right"))


def _is_announced(task: Task) -> bool:
    assert task.private is not None
    prompt = spaced(" ".join(message.text for message in task.prompt)).casefold()
    answer = spaced(task.private.answer).casefold()
    at = prompt.find(answer)
    while at >= 0:
        if ANNOUNCED.search(prompt[:at]) and not ALTERNATIVE.match(prompt, at + len(answer)):
            return True
        at = prompt.find(answer, at + 1)
    return False


def _told(played: Played) -> str:
    said_it = played.script.words[-1].text
    value = "no score" if played.value is None else f"{played.value:g}"
    return f"{said_it[:80]!r}: {value}, {played.why}"
