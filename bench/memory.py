"""How far memory grows while something runs: the high-water mark of the kernel, set back before."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

STATUS, MARKS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def peak_growth(run: Callable[[], object], device: str = "cpu") -> float | None:
    """Bytes by which memory grew at its peak during `run`; None where the system does not tell."""
    if device != "cpu":
        return _peak_on_device(run, device)
    gc.collect()
    give_back()
    before = _resident("VmRSS")
    try:
        MARKS.write_text("5")  # proc(5): sets the high-water mark back to what is resident now
    except OSError:
        run()
        return None
    run()
    peak = _resident("VmHWM")
    return None if peak is None or before is None else float(peak - before)


def give_back() -> None:
    """Hand freed memory back to the system, so that nobody's growth hides in what another side has left."""
    if sys.platform.startswith("linux"):
        libc = ctypes.CDLL("libc.so.6")
        getattr(libc, "malloc_trim", int)(0)


def _resident(field: str) -> int | None:
    if not STATUS.exists():
        return None
    found = [line.split()[1] for line in STATUS.read_text().splitlines() if line.startswith(field + ":")]
    return 1024 * int(found[0]) if found else None


def _peak_on_device(run: Callable[[], object], device: str) -> float:
    import torch

    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return float(torch.cuda.max_memory_allocated(device) - before)
