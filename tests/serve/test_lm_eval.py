"""A public evaluation harness measures a served policy as it would any other server."""

import json

import pytest
import torch

pytestmark = pytest.mark.slow

CHOICES = """
task: tiny_choices
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choices.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: "{{answer}}"
target_delimiter: ""
metric_list: [{metric: acc}]
"""
WORDS = """
task: tiny_words
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choices.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{choices[0]}}"
generation_kwargs: {until: ["\\n", "a"], max_gen_toks: 12, temperature: 0.0}
metric_list: [{metric: exact_match}]
"""
DOCS = [
    {"question": f"{a}+{b}=", "choices": [str(a + b), str(a + b + 1), f"{a}{b}", "no idea"], "answer": 0}
    for a in range(2, 8)
    for b in range(1, 6)
]


@pytest.fixture
def measured(door, opinionated, tmp_path, monkeypatch):
    lm_eval = pytest.importorskip("lm_eval")
    pytest.importorskip("tenacity")
    from lm_eval.tasks import TaskManager

    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    opinionated.save(tmp_path / "model")
    (tmp_path / "choices.jsonl").write_text("".join(json.dumps(doc) + "\n" for doc in DOCS))
    (tmp_path / "tasks").mkdir()
    for name, text in (("choices", CHOICES), ("words", WORDS)):
        (tmp_path / "tasks" / f"{name}.yaml").write_text(text.replace("FOLDER", str(tmp_path)))
    return lm_eval.simple_evaluate(
        model="local-completions",
        model_args={
            "model": "small", "base_url": f"{door}/v1/completions", "tokenizer": str(tmp_path / "model"),
            "tokenizer_backend": "huggingface", "num_concurrent": 4, "max_retries": 1, "max_length": 512,
        },
        tasks=["tiny_choices", "tiny_words"],
        task_manager=TaskManager(include_path=str(tmp_path / "tasks"), include_defaults=False),
        bootstrap_iters=0,
    )  # fmt: skip


def test_lm_eval_gets_the_numbers_that_a_forward_pass_gives(measured, opinionated):
    model, right = opinionated.model, 0
    for sample, doc in zip(measured["samples"]["tiny_choices"], DOCS, strict=True):
        sums = []
        for choice, [[told, is_greedy]] in zip(doc["choices"], sample["resps"], strict=True):
            start, ids = len(doc["question"]), list((doc["question"] + choice).encode())
            with torch.no_grad():
                table = model(input_ids=torch.tensor([ids])).logits[0, start - 1 : -1].log_softmax(-1)
            own = [line[token].item() for line, token in zip(table, ids[start:], strict=True)]
            sums.append(sum(own))
            assert float(told) == pytest.approx(sums[-1], abs=1e-3)
            assert (str(is_greedy) == "True") == (table.argmax(-1).tolist() == ids[start:])
        right += sums[0] == max(sums)
    told = measured["results"]["tiny_choices"]["acc,none"]
    print(f"tiny_choices acc {told:.3f} over {len(DOCS)} tasks, by hand {right / len(DOCS):.3f}")
    assert told == pytest.approx(right / len(DOCS))


def test_lm_eval_gets_words_that_end_before_their_stop(measured, opinionated):
    from evolvent.records import Prompt, Sampling

    for sample, doc in zip(measured["samples"]["tiny_words"], DOCS, strict=True):
        prompt = Prompt((), tokens=tuple(doc["question"].encode()), stream=("x",), stops=("\n", "a", "<|end|>"))
        [made] = opinionated.sample_now([prompt], Sampling(12, 0.0))
        text = opinionated.renderer.text(made.tokens)
        for stop in ("\n", "a", "<|end|>"):
            text = text.split(stop)[0]
        assert sample["resps"][0][0] == text
