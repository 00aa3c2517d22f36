"""A comparison for the terminal and as CSV."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from leukemia_lab.atomic import replacing
from leukemia_lab.evaluation.metrics import METRICS

PAIR_COLUMNS = ("difference", "low", "high", "p", "p_holm", "reason")
LETTERS_SHOWN = 6


def pair_table(document: Mapping[str, Any]) -> Table:
    """The metrics of two runs, their difference with its interval, and p; reasons, other tests and notes below.

    `document` is comparison.json with `part` and `notes`, of which the first pair is shown.
    """
    pair = document["pairs"][0]
    by_name = {run["name"]: run for run in document["runs"]}
    first, second = by_name[pair["a"]], by_name[pair["b"]]
    metrics = pair["metrics"]
    lines = [
        f"{name}: {metrics[name]['reason']}" for name in METRICS if metrics[name].get("reason") is not None
    ]
    lines = [*_joined(lines), _cell_tests(pair), document["ignores_clustering"], *document["notes"]]
    title = f"a − b on {document['part']}: {document['n_cells']:,} cells, {document['n_groups']} groups"
    table = _table(title, lines)
    table.add_column("metric")
    for side, run in (("a", first), ("b", second)):
        lines_of_run = (f"{side} = {run['name']}", *(f"[{stamp}]" for stamp in run.get("stamps", [])))
        table.add_column(Text("\n".join(lines_of_run)), justify="right", overflow="fold")
    table.add_column(f"difference\n({document['level']:.0%} interval)", justify="right")
    table.add_column("p", justify="right")
    for name in METRICS:
        row = metrics[name]
        values = [_estimate(run["metrics"][name], "value", "") for run in (first, second)]
        table.add_row(name, *values, _estimate(row, "difference", "+"), _p(row["p"]))
    return table


def leaderboard(document: Mapping[str, Any]) -> Table:
    """All runs from best to worst by one metric, with letters and Holm's p against the best."""
    metric, runs = document["metric"], document["runs"]
    stamps = {" ".join(f"[{stamp}]" for stamp in run.get("stamps", [])) for run in runs}
    shared = stamps.pop() if len(stamps) == 1 else None
    title = (
        f"{len(runs)} runs by {metric} on {document['part']}: {document['n_cells']:,} cells, "
        f"{document['n_groups']} groups {'' if shared is None else shared}"
    )
    lines = [
        f"{len(document['pairs'])} pairs, Holm's correction over them; runs that share a letter cannot be told "
        f"apart at {1 - document['level']:.0%}",
        *_without_p(document),
        *document["notes"],
    ]
    table = _table(title.strip(), lines)
    for heading in (
        "",
        "run",
        f"{metric} ({document['level']:.0%} interval)",
        "letters",
        "p against\nthe best",
    ):
        table.add_column(
            heading, justify="left" if heading in ("run", "letters") else "right", overflow="fold"
        )
    if shared is None:
        table.add_column("stamps", overflow="fold")
    for run in runs:
        own = [] if shared is not None else [Text(" ".join(f"[{stamp}]" for stamp in run["stamps"]))]
        table.add_row(
            str(run["rank"]),
            Text(run["name"]),
            _estimate(run["metrics"][metric], "value", ""),
            _letters(run["letters"]),
            "" if run["rank"] == 1 else _p(run["p_holm_against_best"]),
            *own,
        )
    return table


def seeds_table(
    groups: Sequence[Mapping[str, Any]], metric: str, level: float, stamps: Sequence[str] = ()
) -> Table:
    """Of runs that differ only in the seed: mean, SD and number, and both variances as standard deviations.

    `stamps` of the runs stand in the title.
    """
    title = " ".join([f"{metric} over seeds", *(f"[{stamp}]" for stamp in stamps)])
    table = _table(title, ["the interval of the mean holds new subjects and new seeds"])
    headings = (
        "run",
        "seeds",
        "mean ± SD",
        "least–most",
        "SD by\nseeds",
        "SE by\nsubjects",
        f"{level:.0%} interval",
    )
    for heading in headings:
        table.add_column(heading, justify="left" if heading == "run" else "right", overflow="fold")
    for group in groups:
        found = group["metrics"][metric]
        if found["mean"] is None:
            table.add_row(Text(group["name"]), str(found["n_seeds"]), f"n/a: {found['reason']}")
            continue
        of_subjects = found["var_between_subjects"]
        table.add_row(
            Text(group["name"]),
            str(found["n_seeds"]),
            f"{found['mean']:.4f} ± {found['sd']:.4f}",
            f"{found['min']:.4f}–{found['max']:.4f}",
            f"{found['sd']:.4f}",
            "n/a" if of_subjects is None else f"{of_subjects**0.5:.4f}",
            "n/a" if found["low"] is None else f"{found['low']:.3f}–{found['high']:.3f}",
        )
    return table


def write_pairs_csv(document: Mapping[str, Any], path: Path) -> None:
    """One row a pair and metric: `a, b, metric, value_a, value_b, difference, low, high, p, p_holm, reason, stamps`.

    `stamps` are those of either run, joined by `;`.
    """
    stamps = {run["name"]: run.get("stamps", []) for run in document["runs"]}
    values = {
        run["name"]: {name: found["value"] for name, found in run["metrics"].items()}
        for run in document["runs"]
    }
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["a", "b", "metric", "value_a", "value_b", *PAIR_COLUMNS, "stamps"])
        for pair in document["pairs"]:
            of_pair = ";".join(dict.fromkeys([*stamps[pair["a"]], *stamps[pair["b"]]]))
            for name, found in pair["metrics"].items():
                sides = [pair["a"], pair["b"], name, values[pair["a"]][name], values[pair["b"]][name]]
                writer.writerow([*sides, *(found.get(column) for column in PAIR_COLUMNS), of_pair])


def _table(title: str, lines: Sequence[str]) -> Table:
    # As Text: Rich would take a stamp in brackets for markup.
    return Table(
        title=Text(title), caption=Text("\n".join(lines)), caption_justify="left", box=box.SIMPLE_HEAD
    )


def _without_p(document: Mapping[str, Any]) -> list[str]:
    """How many pairs have no p-value, and why: they count as not told apart."""
    found = [pair["metrics"][document["metric"]] for pair in document["pairs"]]
    reasons = Counter(one["reason"] for one in found if one["p"] is None)
    return [f"{n} pairs without a p-value, taken as alike: {reason}" for reason, n in reasons.items()]


def _joined(lines: Sequence[str]) -> list[str]:
    """`metric: reason` with the metrics of one reason together."""
    by_reason: dict[str, list[str]] = {}
    for line in lines:
        name, _, reason = line.partition(": ")
        by_reason.setdefault(reason, []).append(name)
    return [f"{', '.join(names)}: {reason}" for reason, names in by_reason.items()]


def _cell_tests(pair: Mapping[str, Any]) -> str:
    cells, area = pair["mcnemar"], pair["delong"]
    tested = (
        f"McNemar (exact): {cells['only_a_right']} cells right in a alone, {cells['only_b_right']} in b alone, "
        f"p {_p(cells['p'])}"
    )
    if area["p"] is None:
        return f"{tested}; no DeLong: {area['reason']}"
    return f"{tested}; DeLong: AUROC {area['difference']:+.4f}, z {area['z']:.2f}, p {_p(area['p'])}"


def _letters(found: Sequence[str]) -> str:
    shown = list(found[:LETTERS_SHOWN]) + (["…"] if len(found) > LETTERS_SHOWN else [])
    return ("" if all(len(letter) == 1 for letter in shown) else " ").join(shown)


def _estimate(found: Mapping[str, Any], key: str, sign: str) -> str:
    if found[key] is None:
        return "n/a"
    bounds = "" if found["low"] is None else f" ({found['low']:{sign}.3f} to {found['high']:{sign}.3f})"
    return f"{found[key]:{sign}.4f}{bounds}"


def _p(p: float | None) -> str:
    if p is None:
        return "n/a"
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"
