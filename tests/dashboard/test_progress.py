import json

from dashboard.reader import dangers
from evolvent.dashboard.progress import MAX_POINTS, draw_progress, follow, tell_chart


def run(number, value, is_kept=None, low=None, high=None):
    return {"number": number, "sha": f"{number:040x}", "agent_id": "ada", "value": value, "is_kept": is_kept,
            "low": low, "high": high}  # fmt: skip


def test_only_what_was_kept_becomes_the_best():
    runs = [run(1, 0.5, True), run(2, 0.9), run(3, 0.6, True), run(4, 0.95, False)]
    assert follow(runs, True).best == (0.5, 0.5, 0.6, 0.6), "a lucky number that was not kept is no incumbent"
    assert follow([run(1, 4.0, True), run(2, 3.0, True), run(3, 2.0)], False).best == (4.0, 3.0, 3.0)


def test_before_anything_was_kept_there_is_no_best():
    progress = follow([run(1, 0.5), run(2, 0.6, True)], True)
    assert progress.best == (None, 0.6)
    assert 'class="best"' in draw_progress(progress, "fill") and "null" in tell_chart(progress, "golf")
    assert 'path class="best"' not in draw_progress(follow([run(1, 0.5)], True), "fill")


def test_of_very_many_runs_the_late_and_the_kept_are_drawn():
    runs = [run(n, n / 5000, n % 500 == 1) for n in range(1, 5001)]
    progress = follow(reversed(runs), True)
    numbers = [one["number"] for one in progress.runs]
    assert numbers == sorted(numbers) and {1, 501, 4001} <= set(numbers) and len(numbers) <= MAX_POINTS + 10


def test_the_chart_is_json_with_a_place_for_each_run():
    told = json.loads(tell_chart(follow([run(1, 0.5, True, 0.4, 0.6), run(2, 0.4)], True), "golf"))
    assert told["number"] == [1, 2] and told["low"] == [0.4, None] and told["isKept"] == [True, False]
    assert told["href"][0] == f"/tasks/golf/runs/{1:040x}"


def test_the_drawing_says_what_it_shows():
    svg = draw_progress(follow([run(1, 0.5, True, 0.4, 0.6), run(2, 0.4)], True), "<fill>")
    assert 'aria-label="&lt;fill&gt; of 2 measured runs; the best that was kept is 0.500"' in svg
    assert dangers(svg) == [] and svg.count("<circle") == 2 and svg.count('class="reach"') == 1
    assert draw_progress(follow([], True), "fill") == ""
