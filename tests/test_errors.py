import copy
import pickle

import pytest

from evolvent.errors import (
    BadInput,
    EvolventError,
    GateFailed,
    InfrastructureError,
    MissingExtra,
    StoreError,
    ToolError,
    VerifierError,
    nearest,
)

KINDS = {
    BadInput: ValueError,
    MissingExtra: ImportError,
    StoreError: OSError,
    GateFailed: RuntimeError,
    ToolError: Exception,
    InfrastructureError: RuntimeError,
    VerifierError: RuntimeError,
}


def test_a_message_has_its_five_parts_in_order():
    error = BadInput("too small", where="group_size", got=1, wanted=">= 2", cure="group_size=8")
    assert str(error).splitlines() == [
        "too small",
        "  where:  group_size",
        "  got:    1",
        "  wanted: >= 2",
        "  cure:   group_size=8",
    ]
    assert (error.what, error.where, error.got, error.wanted, error.cure) == (
        "too small", "group_size", 1, ">= 2", "group_size=8",
    )  # fmt: skip


def test_parts_that_are_not_given_are_not_shown_but_a_zero_is():
    assert str(BadInput("empty")) == "empty"
    assert str(BadInput("too small", got=0)).splitlines() == ["too small", "  got:    0"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_ours_and_one_of_pythons(kind):
    with pytest.raises(KINDS[kind], match="what"):
        raise kind("what", where="where", got=0, wanted=1, cure="cure")
    assert issubclass(kind, EvolventError)


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_crosses_processes_whole(kind):
    error = kind("what", where="where", got=(1, None), wanted={"a": 1}, cure="cure")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(twin) is kind and str(twin) == str(error)
        assert (twin.what, twin.where, twin.got, twin.wanted, twin.cure) == (
            "what",
            "where",
            (1, None),
            {"a": 1},
            "cure",
        )


def test_the_nearest_names_are_a_phrase():
    assert nearest("clircle", ["circle", "sft"]) == "did you mean circle?"
    assert nearest("zzzz", ["sft", "circle"]) == "one of: circle, sft"
