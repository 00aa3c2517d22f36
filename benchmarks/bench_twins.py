"""Which planted twins are found: each kind of copy, each share of shared cells, each place, over several seeds.

Prints one Markdown table of found/planted, and the names that were joined or tied though they share nothing.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
from planted_twins import COPIES, PLACES, Planted, plant_twins

from leukemia_lab.data.index import Tree, read_index
from leukemia_lab.data.twins import TIED, Twins, evidence_of, find_twins

SHARES = (0.1, 0.2, 0.5, 1.0)


def twins_in(root: Path, cache_dir: Path) -> Twins:
    """What the finder says of a tree; all that this benchmark knows of it."""
    index = read_index(Tree(root, "cnmc"), None, "error", cache_dir)
    return find_twins(index.table, evidence_of(index, cache_dir))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--cells", type=int, default=20, help="cells a subject")
    args = parser.parse_args()
    merged: Counter[tuple[str, str, float]] = Counter()
    tied: Counter[tuple[str, str, float]] = Counter()
    strangers: list[str] = []
    for seed in range(args.seeds):
        combinations = itertools.product(COPIES, PLACES, SHARES)
        plan = [Planted(i, share, kind, place) for i, (kind, place, share) in enumerate(combinations)]
        with tempfile.TemporaryDirectory() as folder:
            tree = Path(folder, "tree")
            truth = plant_twins(tree, np.random.default_rng(seed), len(plan), args.cells, plan)
            found = twins_in(tree, Path(folder, "cache"))
        groups = {frozenset(names) for names in found.groups}
        ties = found.pairs[found.pairs["verdict"] == TIED]
        tied_names = {frozenset(pair) for pair in zip(ties["a"], ties["b"], strict=True)}
        for twins in truth:
            key = (twins.planted.kind, twins.planted.place, twins.planted.share)
            merged[key] += twins.subjects in groups
            tied[key] += twins.subjects in tied_names
        wrong = (groups | tied_names) - {twins.subjects for twins in truth}
        strangers += [f"seed {seed}: {', '.join(sorted(names))}" for names in wrong]
    n_shared = ", ".join(f"{share:.0%} are {round(share * args.cells)}" for share in SHARES)
    print(f"Planted twins merged, of {args.seeds} each; {args.cells} cells a subject ({n_shared}):\n")
    print(f"| kind | place | {' | '.join(f'{share:.0%}' for share in SHARES)} |")
    print(f"|---|---|{'---|' * len(SHARES)}")
    for kind, place in itertools.product(COPIES, PLACES):
        keys = [(kind, place, share) for share in SHARES]
        cells = [
            f"{merged[key]}/{args.seeds}" + (f", {tied[key]} tied" if tied[key] > 0 else "") for key in keys
        ]
        print(f"| {kind} | {place} | {' | '.join(cells)} |")
    print(
        f"\nNames merged or tied though they share no cell: {'; '.join(strangers) if strangers else 'none'}"
    )


if __name__ == "__main__":
    main()
