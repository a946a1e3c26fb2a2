from random import Random

from evolvent.tasks.planted import CLEAN, NOISE, NUM_STEPS, Chain, Part, attempt, draw_chain, go_on, steps_of

CHAIN = Chain(7, "qmzk")


def test_steps_add_three_and_a_slip_stays() -> None:
    assert CHAIN.steps(NUM_STEPS, 1) == ("q=0;", "m=3;", "z=6;", "k=9;")
    assert CHAIN.steps(1, -1) == ("q=0;", "m=2;", "z=5;", "k=8;")
    assert CHAIN.steps(0, 1) == ("q=1;", "m=4;", "z=7;", "k=0;")
    assert CHAIN.prompt[0].text == "7qmzk"


def test_attempts_are_clean_and_outcomes_wrong_as_often_as_they_say() -> None:
    rng = Random(0)
    tries = [attempt(draw_chain(rng), rng) for _ in range(4000)]
    is_clean = [t.wrong_at == NUM_STEPS for t in tries]
    assert abs(sum(is_clean) / 4000 - CLEAN) < 0.03
    assert abs(sum((t.reward == 1) != clean for t, clean in zip(tries, is_clean, strict=True)) / 4000 - NOISE) < 0.03
    assert not any(attempt(CHAIN, rng, clean=0.0).wrong_at == NUM_STEPS for _ in range(100))


def test_step_by_step_mistakes_stand_where_they_do_in_whole_attempts() -> None:
    rng, places = Random(1), [0] * (NUM_STEPS + 1)
    for _ in range(4000):
        part = Part()
        for length in range(NUM_STEPS):
            part = go_on(part, rng)
            assert part.length == length + 1 == len(steps_of(CHAIN, part))
        places[part.wrong_at] += 1
    wanted = [*[(1 - CLEAN) / NUM_STEPS] * NUM_STEPS, CLEAN]
    assert all(abs(found / 4000 - share) < 0.03 for found, share in zip(places, wanted, strict=True))
