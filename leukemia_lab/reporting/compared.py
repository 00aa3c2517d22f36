"""The runs of a leaderboard against one another: all pairs, and those that differ only in their seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from leukemia_lab.errors import RunError
from leukemia_lab.evaluation import comparison
from leukemia_lab.evaluation.cell_tests import IGNORES_CLUSTERING
from leukemia_lab.evaluation.comparison import LOWER_IS_BETTER, Comparison, aligned
from leukemia_lab.evaluation.metrics import METRICS, Floats, or_none
from leukemia_lab.evaluation.optimism import WINNERS_CURSE
from leukemia_lab.evaluation.seeds import over_seeds
from leukemia_lab.pages.formats import counted, metric_name
from leukemia_lab.plots import gallery as plots
from leukemia_lab.reporting import contents
from leukemia_lab.reporting.contents import Drawing, Pair, SeedGroup, Seeds
from leukemia_lab.reporting.leaderboard import Leaderboard
from leukemia_lab.results.comparable import require_comparable, seed_groups
from leukemia_lab.results.run_result import RunResult

ONE_RUN = "One run: nothing to compare."
MOST_REASONS = 5  # runs left out that are named with their reasons


def compared(board: Leaderboard) -> tuple[Comparison | None, tuple[str, ...]]:
    """The leaderboard's runs compared by its metric, and what is to be said with it.

    That is which runs are not among them and why, or, without a comparison, why there is none.
    """
    if len(board.rows) < 2:
        return None, (ONE_RUN,)
    tables, faults = {}, []
    for row in board.rows:
        try:
            tables[row.run.name] = _table(row.run, board.part)
        except RunError as error:
            faults.append(f"{row.run.name} ({error})")
    notes = _left_out(faults)
    runs = [row.run for row in board.rows if row.run.name in tables]
    if len(runs) < 2:
        return None, ("There are no two runs to compare.", *notes)
    try:
        require_comparable(runs)
        models = aligned(tables, runs[0].class_names, runs[0].positive)
    except RunError as error:
        return None, (f"The runs were not compared with one another: {error}.", *notes)
    return comparison.compare(models, board.metric, board.level), notes


def pairs(found: Comparison, board: Leaderboard, notes: Sequence[str] = ()) -> contents.Comparison:
    """What the page says of a comparison: all pairs, the better run first, and the groups of runs alike."""
    place = {int(run): k for k, run in enumerate(found.order)}
    listed = sorted(
        (_pair(found, k, place) for k in range(len(found.found.pairs))), key=lambda entry: entry[0]
    )
    names = [found.names[run] for run in found.order]
    groups = list(_groups(found, place))
    many = [f"{WINNERS_CURSE.capitalize()}."] if len(names) > 2 else []
    said = [*notes, *many, IGNORES_CLUSTERING, *_untested([pair for _, pair in listed])]
    return contents.Comparison(
        pairs=tuple(pair for _, pair in listed),
        groups=tuple(tuple(names[run] for run in group) for group in groups),
        drawing=_matrix(found, names, place, groups, board) if len(names) > 2 else None,
        notes=tuple(said),
        level=found.level,
    )


def seeds(found: Comparison, board: Leaderboard) -> Seeds | None:
    """The leaderboard's runs that differ only in the seed; None where there are none."""
    rows = {row.run.name: row for row in board.rows}
    ordered = [rows[name].run for name in found.names]
    groups = [_seed_group(found, board, ordered, members) for members in seed_groups(ordered)[0]]
    if not groups:
        return None
    sign = 1 if board.metric in LOWER_IS_BETTER else -1
    groups.sort(key=lambda group: (group.mean is None, sign * (group.mean or 0.0)))
    values: Mapping[str, list[float]] = {
        group.name: [np.nan if value is None else value for value in group.values.values()]
        for group in groups
    }
    title = f"{metric_name(board.metric)} on {board.part} by seed"
    plot = plots.seeds(values, metric_name(board.metric), ident=f"seeds-{board.number}", title=title)
    return Seeds(tuple(groups), Drawing(plot.svg, plot.alt), found.level)


def how_compared(boards: Sequence[tuple[Leaderboard, contents.Comparison | str]]) -> tuple[str, ...]:
    """Of each leaderboard with pairs that were tested a sentence: how, corrected for how many, and what came out."""
    said = []
    for board, found in boards:
        tested = [] if isinstance(found, str) else [p for p in found.pairs if p.p_holm is not None]
        if isinstance(found, str) or not tested:
            continue
        where = f"Leaderboard {board.number}, " if len(boards) > 1 else ""
        n_runs = len({name for pair in found.pairs for name in (pair.a, pair.b)})
        apart = sum(pair.p_holm is not None and pair.p_holm < 1 - found.level for pair in tested)
        said.append(
            f"{where}{metric_name(board.metric)} on {board.part}: {n_runs} runs compared on the same cells, each pair "
            "by a paired jackknife of the difference over subjects; Holm's correction for all "
            f"{counted(len(tested), 'pair')}; {apart} of them differ at {1 - found.level:.0%}"
        )
    return tuple(said)


def _table(run: RunResult, part: str) -> Any:
    if run.is_cross_validation and part != "test":
        raise RunError(f"in a cross-validation a cell of {part} is predicted by several models")
    return run.predicted(part)


def _left_out(faults: Sequence[str]) -> tuple[str, ...]:
    if not faults:
        return ()
    more = len(faults) - MOST_REASONS
    tail = f"; and {more} more" if more > 0 else ""
    return (f"Not compared: {'; '.join(faults[:MOST_REASONS])}{tail}.",)


def _untested(listed: Sequence[Pair]) -> Iterator[str]:
    """How many pairs have no p-value, by the reason."""
    reasons = Counter(pair.reason for pair in listed if pair.p is None)
    for reason, n in reasons.items():
        yield f"{counted(n, 'pair')} cannot be tested by subject: {reason}."


def _groups(found: Comparison, place: Mapping[int, int]) -> Iterator[list[int]]:
    """The places of runs that a test could not tell apart, the group of the best first.

    A run whose metric is undefined is in none, and where no pair could be tested there is none.
    """
    m = METRICS.index(found.metric)
    if not np.isfinite(found.p_holm[:, m]).any():
        return
    letters = {letter for own in found.letters for letter in own}
    for letter in sorted(letters, key=lambda letter: (len(letter), letter)):  # z is before aa
        members = [
            place[run]
            for run, own in enumerate(found.letters)
            if letter in own and np.isfinite(found.runs.values[run, m])
        ]
        if len(members) > 1:
            yield sorted(members)


def _pair(found: Comparison, k: int, place: Mapping[int, int]) -> tuple[tuple[int, int], Pair]:
    """The places of a pair's two runs in the order, and the pair, the better run first."""
    m = METRICS.index(found.metric)
    a, b = (int(run) for run in found.found.pairs[k])
    difference, low, high = (
        float(ends[k, m]) for ends in (found.found.difference, found.found.low, found.found.high)
    )
    if place[a] > place[b]:
        a, b, difference, low, high = b, a, 0.0 - difference, 0.0 - high, 0.0 - low  # 0 stays 0, not -0
    pair = Pair(
        a=found.names[a],
        b=found.names[b],
        difference=or_none(difference),
        low=or_none(low),
        high=or_none(high),
        p=or_none(found.found.p[k, m]),
        p_holm=or_none(found.p_holm[k, m]),
        p_mcnemar=or_none(found.mcnemar.p[k]),
        p_delong=None if found.delong is None else or_none(found.delong.p[k]),
        reason=found.found.reasons[k, m],
    )
    return (place[a], place[b]), pair


def _matrix(
    found: Comparison,
    names: Sequence[str],
    place: Mapping[int, int],
    groups: Sequence[Sequence[int]],
    board: Leaderboard,
) -> Drawing:
    m = METRICS.index(found.metric)
    differences, p_values = (np.full((len(names), len(names)), np.nan) for _ in range(2))
    for k, (first, second) in enumerate(found.found.pairs):
        a, b = place[int(first)], place[int(second)]
        differences[a, b], differences[b, a] = found.found.difference[k, m], -found.found.difference[k, m]
        p_values[a, b] = p_values[b, a] = found.p_holm[k, m]
    plot = plots.comparison_matrix(
        names,
        differences,
        p_values,
        metric_name(found.metric),
        ident=f"differences-{board.number}",
        title="Differences between runs",
        groups=groups,
        level=round(1 - found.level, 9),
        less_is_better=found.metric in LOWER_IS_BETTER,
    )
    return Drawing(plot.svg, plot.alt)


def _seed_group(
    found: Comparison, board: Leaderboard, runs: Sequence[RunResult], members: Sequence[int]
) -> SeedGroup:
    summary = over_seeds(found.runs, members, found.level)[board.metric]
    column: Floats = found.runs.values[:, METRICS.index(board.metric)]
    between_subjects = summary["var_between_subjects"]
    by_seed = {seed: or_none(column[k]) for k in members if (seed := runs[k].seed) is not None}
    return SeedGroup(
        name=_of_seeds(board, runs[members[0]]),
        runs=tuple(runs[k].name for k in members),
        values=dict(sorted(by_seed.items())),
        mean=summary["mean"],
        low=summary["low"],
        high=summary["high"],
        sd_seeds=summary["sd"],
        sd_subjects=None if between_subjects is None else float(np.sqrt(between_subjects)),
        reason=summary.get("reason"),
    )


def _of_seeds(board: Leaderboard, run: RunResult) -> str:
    """What runs of several seeds have in common: the model, and what sets them apart from others of it."""
    row = next(row for row in board.rows if row.run is run)
    return " ".join([run.model, *(f"{key}={value}" for key, value in row.differs.items())])
