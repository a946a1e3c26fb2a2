# mypy: ignore-errors
"""Codes and restores some of train.txt, and prints the bits per byte; the official texts are others."""

import random
import subprocess
import sys
import time
from pathlib import Path

SEEDS, NUM_PASSAGES, PASSAGE_BYTES, MAX_BYTES = (1, 2, 3), 8, 500, 16384


def main():
    """Print the metric after a line of dashes."""
    files = [Path("golf.py"), Path("params.json"), *Path("weights").rglob("*")]
    size = sum(path.stat().st_size for path in files if path.is_file())
    print(f"artifact: {size} of {MAX_BYTES} bytes", "" if size <= MAX_BYTES else "(too large: invalid)")
    start = time.perf_counter()
    found = [measure(seed) for seed in SEEDS]
    print(f"seconds for each text: {(time.perf_counter() - start) / len(SEEDS):.2f}")
    print("---")
    print(f"bpb: {sum(found) / len(found):.6f}")


def measure(seed):
    """Bits per byte of one text; an error where it does not come back."""
    whole, rng = Path("train.txt").read_bytes(), random.Random(seed)
    starts = [rng.randrange(len(whole) - PASSAGE_BYTES) for _ in range(NUM_PASSAGES)]
    text = b"".join(whole[start : start + PASSAGE_BYTES] for start in starts)
    Path("inputs").mkdir(exist_ok=True)
    Path("inputs/text").write_bytes(text)
    subprocess.run([sys.executable, "golf.py", "encode"], check=True, timeout=10)
    code = Path("code.bin").read_bytes()
    Path("inputs/text").unlink()
    Path("inputs/predictions").write_bytes(code)
    subprocess.run([sys.executable, "golf.py", "decode"], check=True, timeout=10)
    if Path("decoded.txt").read_bytes() != text:
        raise SystemExit("the decoded text is another one")
    return 8 * len(code) / len(text)


if __name__ == "__main__":
    main()
