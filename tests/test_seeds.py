import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evolvent.seeds import derive, stream, uniforms

names = st.lists(st.one_of(st.text(max_size=5), st.integers(-(2**70), 2**70)), max_size=4).map(tuple)
seeds = st.integers(-(2**70), 2**70)


def test_a_key_is_the_same_on_every_machine_and_in_every_process():
    # worked once with hashlib alone: blake2b('[0,"draws",3]', digest_size=8), big endian
    assert derive(0, "draws", 3) == 0x0BC575D2905C4C18
    code = "from evolvent.seeds import derive; print(derive(0, 'draws', 3))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert int(told) == derive(0, "draws", 3)


@given(seeds, names, seeds, names)
def test_streams_of_other_names_or_seeds_have_other_keys(seed, name, other_seed, other):
    same = (seed, name) == (other_seed, other)
    assert (derive(seed, *name) == derive(other_seed, *other)) == same


def test_names_are_never_glued_together():
    keys = [derive(1, 2), derive(12), derive(1, "2"), derive(0, "ab"), derive(0, "a", "b"), derive(0, "a,b"), derive(0)]
    assert len(set(keys)) == len(keys)


@given(seeds, names)
def test_a_stream_depends_on_its_name_alone(seed, name):
    first = stream(seed, *name).random()
    stream(seed, "other").random()  # drawing elsewhere moves nothing here
    assert stream(seed, *name).random() == first


def test_item_i_does_not_depend_on_how_many_there_are():
    few = [stream(7, "task", i).random() for i in range(3)]
    many = [stream(7, "task", i).random() for i in reversed(range(50))]
    assert many[::-1][:3] == few


@given(seeds, names, st.integers(0, 40), st.integers(0, 40))
def test_the_first_uniforms_do_not_depend_on_their_number(seed, name, few, more):
    a, b = uniforms(seed, *name, num=few), uniforms(seed, *name, num=few + more)
    assert a.dtype == np.float64 and np.array_equal(a, b[:few])


@given(seeds, names)
def test_uniforms_lie_in_zero_to_one_with_one_left_out(seed, name):
    drawn = uniforms(seed, *name, num=200)
    assert (drawn >= 0).all() and (drawn < 1).all()


def test_two_streams_are_uncorrelated_and_each_is_uniform():
    a, b = uniforms(0, "a", num=20000), uniforms(0, "b", num=20000)
    # the standard error of a correlation is 1/sqrt(20000) = 0.007, that of a mean sqrt(1/12/20000) = 0.002
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.03
    assert a.mean() == pytest.approx(0.5, abs=0.01) and b.var() == pytest.approx(1 / 12, abs=0.01)
