"""Time and memory of the audit and the index on a tree of C-NMC's real size, as a table for docs/audit.md.

`python benchmarks/bench_audit.py --root DIR` draws the tree (7.6 GB) with draw_cnmc_like.py where it is not there yet.
Without --root it goes to a temporary folder. Cold: nothing is cached by leukemia_lab (the files may be by the system).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import draw_cnmc_like

INDEX = """
from pathlib import Path
import sys
from leukemia_lab.data.index import Tree, read_index
print(len(read_index(Tree(Path(sys.argv[1]), "cnmc"), None, "error", Path(sys.argv[2])).table))
"""


def measured(command: Sequence[str], cache: Path) -> tuple[float, float]:
    """Seconds and peak memory in MiB of a command."""
    started = time.monotonic()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env={**os.environ, "LEUKEMIA_LAB_CACHE": str(cache)}, **quiet)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.monotonic() - started, usage.ru_maxrss / 1024


def measure(root: Path, scratch: Path) -> None:
    """Print the table."""
    cache = scratch / "cache"
    audit = [
        sys.executable,
        "-m",
        "leukemia_lab.audit",
        "data=cnmc",
        f"data.root={root}",
        f"output={scratch}",
    ]
    index = [sys.executable, "-c", INDEX, str(root), str(cache / "index")]
    cores = len(os.sched_getaffinity(0))
    print(f"| {date.today()}, {cores} cores | seconds | peak memory, MiB |\n|---|---|---|")
    for name, command in (
        ("audit, cold", audit),
        ("audit, warm", audit),
        ("index, cold", index),
        ("index, warm", index),
    ):
        seconds, mebibytes = measured(command, cache)
        print(f"| {name} | {seconds:.1f} | {mebibytes:.0f} |", flush=True)


def main() -> None:
    """Draw the tree, measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help="folder of the tree; a temporary one by default")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree" if args.root is None else args.root
        try:
            draw_cnmc_like.main(["--root", str(root)])
        except FileNotFoundError as missing:
            print(f"skipped: {missing.filename} is not there, whose boxes are to be drawn")
            return
        measure(root, Path(folder))


if __name__ == "__main__":
    main()
