import random
from dataclasses import replace

import pytest

from evolvent.errors import BadInput
from evolvent.records import Origin, Private, said
from evolvent.seeds import stream
from evolvent.synthesis.evolve import evolve, lineage
from evolvent.synthesis.evolve_programs import (
    IN_DEPTH,
    OPERATORS,
    RULES,
    adds_nothing,
    answer_fails,
    copies_operator,
    draw_program,
)
from evolvent.tasks.word_programs import Program, Step, check, program_of, task_of


def task(word, *steps, task_id="t"):
    return task_of(Program(word, steps), task_id, Origin("seed"), family="programs", level=0, split="train")


def seeds(num):
    return [task(p.word, *p.steps, task_id=f"s{i}") for i in range(num) for p in [draw_program(stream(0, i), 5, 1)]]


@pytest.fixture(scope="module")
def evolution():
    return evolve(seeds(150), OPERATORS, RULES, num_rounds=4, seed=0, max_tries=3)


def test_every_answer_is_what_the_program_gives(evolution):
    assert len(evolution.pool) > 400
    for one in evolution.pool:
        assert one.private.answer == program_of(one).results()[-1]
        assert check(one, one.private.solution[-1].text).value == 1
        assert not any(rule(one, one) for rule in (answer_fails, copies_operator))


def test_lineage_leads_to_a_seed_and_never_in_a_circle(evolution):
    known = {one.task_id: one for one in evolution.pool}
    assert len(known) == len(evolution.pool)
    for one in evolution.pool:
        chain = lineage(one, known)
        assert chain[0].origin.how == "seed" and chain[-1] is one
        assert [c.level for c in chain] == sorted({c.level for c in chain}), "levels are rounds, and they grow"
        assert all(c.origin.how.removeprefix("evolve:") in OPERATORS for c in chain[1:])


def test_an_ancestor_of_itself_is_refused():
    one, two = (replace(task("abc", Step("sort")), task_id=n, origin=Origin("e", (p,))) for n, p in ("ab", "ba"))
    with pytest.raises(BadInput, match="own ancestor"):
        lineage(one, {"a": one, "b": two})


def test_programs_grow_longer_round_by_round(evolution):
    depth = [sum(len(program_of(t).steps) for t in leaves) / len(leaves) for leaves in evolution.rounds]
    assert depth == sorted(depth) and depth[-1] > 1.4


def test_nothing_comes_twice(evolution):
    questions = [one.question for one in evolution.pool if one.origin.parents]
    assert len(set(questions)) == len(questions)
    assert not set(questions) & {one.question for one in evolution.rounds[0]}
    assert evolution.dropped and not {i for ids in evolution.dropped.values() for i in ids} & {
        leaf.task_id for leaf in evolution.rounds[0]
    }


def test_evolution_is_pure_in_its_arguments():
    assert evolve(seeds(9), OPERATORS, RULES, num_rounds=2, seed=3) == evolve(
        seeds(9), OPERATORS, RULES, num_rounds=2, seed=3
    )
    alone = evolve(seeds(9)[4:5], OPERATORS, RULES, num_rounds=2, seed=3)
    assert alone.rounds[-1][0] == evolve(seeds(9), OPERATORS, RULES, num_rounds=2, seed=3).rounds[-1][4]


def test_a_failed_evolution_keeps_the_parent():
    def broken(one, rng):
        return replace(one, private=Private("", one.private.data))

    made = evolve(seeds(3), {"broken": broken}, RULES, num_rounds=2, seed=0)
    assert made.rounds[2] == made.rounds[0] == made.pool and len(made.dropped["empty answer"]) == 6


def test_without_rules_nothing_is_dropped():
    made = evolve(seeds(3), {"same": lambda one, rng: one}, (), num_rounds=2, seed=0)
    assert not made.dropped and [t.origin.parents for t in made.rounds[2]] == [(f"s{i}~1",) for i in range(3)]


def test_another_try_may_succeed():
    def sometimes(one, rng):
        return OPERATORS["breadth"](one, rng) if rng.random() < 0.5 else one

    made = evolve(seeds(20), {"sometimes": sometimes}, RULES, num_rounds=1, seed=0, max_tries=20)
    assert made.dropped["adds nothing to its parent"]
    assert all(t.origin.how == "evolve:sometimes" for t in made.rounds[1])


def test_evolving_with_nothing_is_refused():
    with pytest.raises(BadInput, match="nothing to evolve with"):
        evolve(seeds(1), {}, RULES, num_rounds=1, seed=0)


@pytest.mark.parametrize("name", sorted(IN_DEPTH))
def test_operators_in_depth_add_few_words(name):
    for i in range(60):
        one = seeds(60)[i] if i % 2 else task("abcab", Step("rotate", 2), Step("sort"), Step("count", letter="a"))
        child = IN_DEPTH[name](one, random.Random(i))
        assert len(child.question.split()) - len(one.question.split()) <= 20
        assert child.private.answer == program_of(child).results()[-1]


PARENT = task("abcab", Step("reverse"))  # bacba
ELIMINATED = [
    (answer_fails, replace(PARENT, private=Private("", PARENT.private.data)), "empty answer"),
    (answer_fails, replace(PARENT, private=Private("b" * 41, PARENT.private.data)), "answer too long"),
    (answer_fails, replace(PARENT, private=Private("abcab", PARENT.private.data)), "wrong answer"),
    (adds_nothing, PARENT, "adds nothing to its parent"),
    (adds_nothing, task("abcab", Step("reverse"), Step("rotate", 5)), "adds nothing to its parent"),  # idle
    (
        copies_operator,
        replace(PARENT, prompt=(said("user", "#Rewritten Prompt#: abcab: sort"),)),
        "copies the operator",
    ),
]


@pytest.mark.parametrize(("rule", "child", "reason"), ELIMINATED)
def test_each_rule_drops_what_it_is_for(rule, child, reason):
    assert rule(child, PARENT) == reason


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("steps", [(Step("reverse"), Step("sort")), (Step("reverse", least=9),), (Step("reverse", 2),)])
def test_each_rule_keeps_what_is_good(rule, steps):
    assert rule(task("abcab", *steps), PARENT) == ""
