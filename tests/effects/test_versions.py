from evolvent.effects.versions import code_digest, digest_of, recipe_digest

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
