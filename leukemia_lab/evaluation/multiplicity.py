"""Many comparisons at once: Holm's correction, and letters for runs that cannot be told apart."""

from __future__ import annotations

from string import ascii_lowercase

import numpy as np
import numpy.typing as npt

from leukemia_lab.evaluation.metrics import Floats, Ints

ALPHA = 0.05  # below it, after Holm's correction, two are told apart


def holm(p: Floats) -> Floats:
    """Holm's (1979) step-down adjusted p-values [m]: family-wise, whatever the dependence; NaN is no test."""
    adjusted = np.full_like(p, np.nan)
    tested = np.flatnonzero(np.isfinite(p))
    order = tested[np.argsort(p[tested], kind="stable")]
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * factors), 1.0)
    return adjusted


def letters(order: Ints, pairs: Ints, differ: npt.NDArray[np.bool_]) -> list[list[str]]:
    """A compact letter display: two runs share a letter if and only if they cannot be told apart.

    Each letter stands for runs of which no two differ, so that finding few letters is covering the edges of a graph
    by cliques (Gramm et al. 2007). This takes the first pair in `order` that shares no letter yet, adds every run
    that differs from none so far, the best first, and goes on: polynomial, at times with a letter more than needed.

    Args:
        order: the runs from best to worst [R].
        pairs: the runs of each pair [P, 2]; all pairs, each once.
        differ: whether they were told apart [P].

    Returns:
        The letters of each run, by its number: a, b, …, z, aa, ab, …; `a` is of the best.
    """
    alike = np.ones((len(order), len(order)), dtype=bool)
    alike[pairs[differ, 0], pairs[differ, 1]] = False
    alike[pairs[differ, 1], pairs[differ, 0]] = False
    alike = alike[np.ix_(order, order)]  # from here on runs are counted by rank
    found: list[list[str]] = [[] for _ in order]
    uncovered = alike.copy()
    n_letters = 0
    for rank in range(len(order)):
        while uncovered[rank].any():
            clique = _grown(alike, rank, int(uncovered[rank].argmax()))
            uncovered[np.ix_(clique, clique)] = False
            for member in clique:
                found[order[member]].append(letter(n_letters))
            n_letters += 1
    return found


def letter(number: int) -> str:
    """0 is a, 25 z, 26 aa, 27 ab."""
    quotient, rest = divmod(number, len(ascii_lowercase))
    return (letter(quotient - 1) if quotient else "") + ascii_lowercase[rest]


def _grown(alike: npt.NDArray[np.bool_], first: int, second: int) -> list[int]:
    """The clique of two ranks, with every other that fits, the best first."""
    clique = sorted({first, second})
    fitting = alike[clique[0]] & alike[clique[-1]]
    fitting[clique] = False
    while fitting.any():
        clique.append(int(fitting.argmax()))
        fitting &= alike[clique[-1]]
        fitting[clique[-1]] = False
    return sorted(clique)
