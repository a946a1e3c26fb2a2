"""How far memory grows while something runs: the high-water mark of the kernel, set back before."""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path

STATUS, MARKS = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Watch:
    """Begins when it is made; `grown` is the peak since then, over what was held at the start."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self.before: int | None = None
        if device != "cpu":
            self.before = _begin_on_device(device)
            return
        gc.collect()
        give_back()
        try:
            MARKS.write_text("5")  # proc(5): sets the high-water mark back to what is resident now
        except OSError:
            return
        self.before = _resident("VmRSS")

    def grown(self) -> float | None:
        """Bytes; None where the system does not tell."""
        peak = _resident("VmHWM") if self.device == "cpu" else _peak_on_device(self.device)
        return None if peak is None or self.before is None else float(peak - self.before)


def peak_growth(run: Callable[[], object], device: str = "cpu") -> float | None:
    """Bytes by which memory grew at its peak during `run`."""
    watch = Watch(device)
    run()
    return watch.grown()


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


def _begin_on_device(device: str) -> int:
    import torch

    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    return int(torch.cuda.memory_allocated(device))


def _peak_on_device(device: str) -> int:
    import torch

    torch.cuda.synchronize(device)
    return int(torch.cuda.max_memory_allocated(device))
