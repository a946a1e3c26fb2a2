import importlib
import sys

from evolvent.effects.versions import code_digest, digest_of, modules_digest, recipe_digest

CODE = '"""What it does."""\n\ndef f(x):\n    """Doubles."""\n    return 2 * x\n'


def test_words_and_layout_change_nothing_and_a_number_does(tmp_path):
    def digest(text):
        path = tmp_path / "module.py"
        path.write_text(text)
        return digest_of([path])

    assert digest(CODE) == digest("# a reason\ndef f(x):\n\n    return (2 *\n        x)\n")
    assert digest(CODE) != digest(CODE.replace("2", "3"))
    assert digest("def f():\n    'only words'\n") == digest("def f():\n    'other words'\n")


def test_a_recipe_knows_the_recipe_that_it_varies():
    assert recipe_digest("evolvent.recipes.sft") != recipe_digest("evolvent.recipes.circle")
    assert code_digest() == code_digest()


def test_a_part_in_a_module_of_ones_own_counts_with_that_module(tmp_path, monkeypatch):
    def digest(text):
        (tmp_path / "my_parts.py").write_text(text)
        importlib.import_module("my_parts")
        return modules_digest({"source": {"call": "my_parts:words"}, "loss": "evolvent.training.losses:token_mean"})

    monkeypatch.syspath_prepend(tmp_path)
    first = digest("NUM_LETTERS = 3\n")
    assert first != digest("NUM_LETTERS = 4\n")
    assert first == digest("# three\nNUM_LETTERS = 3\n")
    assert modules_digest({"loss": "evolvent.training.losses:token_mean"}) == modules_digest({})
    monkeypatch.delitem(sys.modules, "my_parts")
