import json
from dataclasses import dataclass, replace

import pytest

from evolvent.envs.sandbox import best
from evolvent.records import Completion, Finish, Sampling, said
from evolvent.synthesis.terminal.proof import Asked
from evolvent.synthesis.terminal.written import write_tasks

HOW = Sampling(4096, seed=3)
QUICK = Asked(num_runs=1, num_mutants=1, num_alternatives=1)
SPEC = {
    "files": {"in.txt": "b\na\n"},
    "clauses": [
        {"words": "Write the lines of in.txt in order to out.txt.", "facts": [
            {"kind": "text", "path": "out.txt", "want": "a\nb"}
        ]},
        {"words": "Leave in.txt as it is.", "facts": [{"kind": "same", "path": "in.txt"}]},
    ],
}  # fmt: skip
WAYS = {
    "solution": "sort in.txt > out.txt",
    "alternatives": ["python3 -c \"print(''.join(sorted(open('in.txt'))))\" > out.txt"],
    "mutants": ["sort -r in.txt > out.txt"],
}


@dataclass(frozen=True)
class Author:
    """A policy that answers by what stands in the prompt."""

    answers: tuple[tuple[str, str], ...]
    name: str = "author"

    async def sample(self, prompts, how):
        made = []
        for prompt in prompts:
            text = next(answer for word, answer in self.answers if word in prompt.messages[-1].text)
            made.append(Completion((), text, (), (), 0, Finish.STOP, "c", said("assistant", text)))
        return made


def block(value):
    return f"Here it is:\n```json\n{json.dumps(value)}\n```"


async def written(spec, ways=WAYS):
    author = Author((("Invent", spec if isinstance(spec, str) else block(spec)), ("", block(ways))))
    (one,), funnel = await write_tasks(author, ["sorting"], HOW, best(), asked=QUICK)
    return one, funnel


async def test_a_sound_task_that_a_model_wrote_is_proven_and_kept():
    one, funnel = await written(SPEC)
    assert one.why == ""
    assert one.task.instruction == "Write the lines of in.txt in order to out.txt.\nLeave in.txt as it is."
    assert {row.kind for row in one.checks} >= {"oracle", "nop", "mutant", "alternative", "leak", "hash"}
    assert dict(funnel.counts) == {"drawn": 1, "kept": 1}


WRONG_TRUTH = json.loads(json.dumps(SPEC).replace("a\\nb", "b\\nc"))
LEAKY = {**SPEC, "files": {**SPEC["files"], "hint": "a\nb\n"}}


@pytest.mark.parametrize(
    ("spec", "ways", "why"),
    [
        ("I would rather not.", WAYS, "spec: no files"),
        ({**SPEC, "files": {"../in.txt": "x"}}, WAYS, "spec: a path leads out"),
        ({**SPEC, "clauses": [{"words": "Do it.", "facts": []}]}, WAYS, "spec: nothing is checked"),
        ({**SPEC, "clauses": [{"words": "Do.", "facts": [{"kind": "runs", "path": "x"}]}]}, WAYS, "spec: no such kind"),
        (SPEC, {"solution": 3}, "ways: no mutants"),
        (WRONG_TRUTH, WAYS, "oracle"),
        (SPEC, {**WAYS, "mutants": ["sort in.txt > out.txt"]}, "mutant"),
        (LEAKY, WAYS, "leak"),
    ],
)
async def test_what_a_model_got_wrong_is_dropped_and_named(spec, ways, why):
    one, funnel = await written(spec, ways)
    assert one.why.startswith(why)
    assert funnel["kept"] == 0
    assert funnel[f"rejected: {why.partition(':')[0]}"] == 1


async def test_ideas_do_not_hinder_each_other():
    author = Author((("Topic: good", block(SPEC)), ("Topic: bad", "no"), ("", block(WAYS))))
    found, funnel = await write_tasks(author, ["bad", "good", "bad"], HOW, best(), asked=replace(QUICK))
    assert [bool(one.why) for one in found] == [True, False, True]
    assert dict(funnel.counts) == {"drawn": 3, "rejected: spec": 2, "kept": 1}
