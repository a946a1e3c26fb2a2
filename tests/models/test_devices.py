import subprocess
import sys

import pytest
import torch

from evolvent.errors import BadInput
from evolvent.models import resolve_device, resolve_dtype


def test_auto_is_what_is_there():
    expected = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    assert resolve_device("auto").type == expected
    assert resolve_dtype("auto", "cpu") is torch.float32


def test_names_are_resolved():
    assert resolve_device("cpu") == torch.device("cpu")
    assert resolve_dtype("bfloat16") is torch.bfloat16


@pytest.mark.parametrize("name", ["gpu", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(BadInput, match="device"):
        resolve_device(name)


def test_an_unknown_number_type_is_refused():
    with pytest.raises(BadInput, match="number type"):
        resolve_dtype("int4")


def test_kept_memory_is_a_setting_of_the_process():
    code = "import sys; from evolvent.models import keep_freed_memory as k; assert k() in (True, False)"
    subprocess.run([sys.executable, "-c", code], check=True)
