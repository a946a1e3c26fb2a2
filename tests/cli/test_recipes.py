from evolvent.cli.recipes import fields_of, plan_of
from evolvent.cli.values import override, recipe_names
from evolvent.codec import from_json, to_json


def test_every_recipe_is_in_the_table(answered, told):
    assert [r["name"] for r in answered("recipes")["recipes"]] == recipe_names()
    out = told("recipes")[1]
    assert all(name in out for name in recipe_names())


def test_a_recipe_shows_its_card_and_every_key_of_its_plan(answered, told):
    found = answered("recipes", "circle")
    assert found["claim"]
    assert found["plan"]["num_steps"] == plan_of("circle").num_steps
    out = told("recipes", "circle")[1]
    for key in ("cold_start.num_steps", "budgets.turn_tokens", "loss.gain.low", "num_steps", "optimizer.lr"):
        assert key in out


def test_every_key_that_is_shown_for_a_number_can_be_set():
    plan = plan_of("circle")
    for key, value in fields_of(plan):
        if value.replace(".", "", 1).isdecimal():
            assert from_json(to_json(override(plan, {key: value}))) == override(plan, {key: value})


def test_all_recipes_come_in_full(answered):
    assert all("plan" in r for r in answered("recipes", "--all")["recipes"])


def test_an_unknown_recipe_names_its_neighbours(refused):
    assert "did you mean circle" in refused("recipes", "crcle")
