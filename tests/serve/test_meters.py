"""What the door tells of itself."""

import re

import httpx
import pytest

from evolvent.serve.meters import Counter, Histogram, Meters
from reciter import RENDERER

END = RENDERER.added["<|end|>"]
LINE = re.compile(r'[a-z_]+(\{[a-z]+="([^"\\]|\\.)*"(,[a-z]+="([^"\\]|\\.)*")*\})? (-?[0-9.e+-]+|\+Inf|NaN)')


def values(url):
    text = httpx.get(f"{url}/metrics").text
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line[0] != "#"}


def test_a_histogram_counts_below_each_bound():
    meter = Histogram("h", "Words.", (1.0, 2.0), ("route",))
    for value in (0.5, 1.0, 1.5, 9.0):
        meter.observe(value, "a")
    # 0.5 and 1.0 lie at or below 1; 1.5 below 2; 9 below nothing but infinity
    assert list(meter.lines()) == [
        "# HELP h Words.",
        "# TYPE h histogram",
        'h_bucket{route="a",le="1"} 2',
        'h_bucket{route="a",le="2"} 3',
        'h_bucket{route="a",le="+Inf"} 4',
        'h_sum{route="a"} 12',
        'h_count{route="a"} 4',
    ]


def test_odd_labels_are_escaped():
    meter = Counter("c", "Words.", ("name",))
    meter.add(1.5, 'a "b"\\\n')
    assert list(meter.lines())[-1] == 'c{name="a \\"b\\"\\\\\\n"} 1.5'


def test_every_line_is_in_prometheus_form_and_the_numbers_are_right(recited):
    recited.policy.says["q"] = (*b"four", END)
    ask = {"model": "r", "messages": [{"role": "user", "content": "q"}]}
    for fields in ({}, {"n": 2}, {"stream": True}, {"temperature": 9}):
        reply = httpx.post(f"{recited.url}/v1/chat/completions", json={**ask, **fields})
        assert reply.status_code == (400 if "temperature" in fields else 200)
    text = httpx.get(f"{recited.url}/metrics").text
    assert text.endswith("\n")
    for line in text.splitlines():
        assert line.startswith(("# HELP ", "# TYPE ")) or LINE.fullmatch(line), line
    assert httpx.get(f"{recited.url}/v1/models", headers={"Origin": "http://evil.example"}).status_code == 403
    told = values(recited.url)
    assert told['evolvent_requests_total{route="door",status="403"}'] == 1
    assert told['evolvent_requests_total{route="chat",status="200"}'] == 3
    assert told['evolvent_requests_total{route="chat",status="400"}'] == 1
    assert told['evolvent_tokens_total{kind="completion"}'] == 4 * 5
    assert told['evolvent_tokens_total{kind="prompt"}'] == 3 * 3  # two marks and a letter, read once for both choices
    assert told['evolvent_request_seconds_count{route="chat"}'] == 3
    assert told["evolvent_batch_rows_sum"] == 4 and told["evolvent_queue_prompts"] == 0
    for part in ("parse", "sample", "render"):
        assert told[f'evolvent_part_seconds_total{{part="{part}"}}'] > 0
        assert told[f'evolvent_part_cpu_seconds_total{{part="{part}"}}'] >= 0


def test_prometheus_own_parser_reads_it(door):
    parser = pytest.importorskip("prometheus_client.parser")
    families = list(parser.text_string_to_metric_families(httpx.get(f"{door}/metrics").text))
    assert {family.type for family in families} == {"counter", "histogram", "gauge"}


def test_empty_meters_are_readable():
    assert all(line.startswith("#") for line in Meters().text().splitlines())
