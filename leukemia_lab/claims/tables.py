"""The check of a table as rows for files, as a table for the terminal, and as CSV or JSON."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from leukemia_lab.atomic import replacing
from leukemia_lab.claims.check import SHARE_DIGITS, CheckedClaim, ClaimsCheck, share_words
from leukemia_lab.claims.claim import METRICS
from leukemia_lab.errors import ClaimError

VERDICT_STYLES: Mapping[str, str] = {"impossible": "bold red", "possible": ""}


def claims_table(check: ClaimsCheck) -> list[dict[str, Any]]:
    """One plain dict a row, ready for CSV or JSON; rates and shares from 0 to 1, None where there is no value.

    `name`; `claimed_<metric>`; `claim_verdict` possible | impossible, from the rates alone; `implied_positive_share`
    with `_low` and `_high`; `has_data_share`; `f1_fit` one class | average only | none; `integer_matrix` found | none |
    size unknown; `reason`, the same in words.
    """
    return [_row(row, check.in_percent) for row in check.rows]


def _row(row: CheckedClaim, in_percent: bool) -> dict[str, Any]:
    claimed = {
        f"claimed_{metric}": float(row.claim.rates[metric].scaleb(-2 if in_percent else 0))
        if metric in row.claim.rates
        else None
        for metric in METRICS
    }
    interval = row.share_interval
    return {
        "name": row.claim.name,
        **claimed,
        "claim_verdict": row.verdict,
        "implied_positive_share": row.implied_share,
        "implied_positive_share_low": None if interval is None else float(interval.low),
        "implied_positive_share_high": None if interval is None else float(interval.high),
        "has_data_share": row.has_data_share,
        "f1_fit": row.f1_fit,
        "integer_matrix": row.integer_matrix,
        "reason": "; ".join(row.reasons),
    }


def shown_claims(check: ClaimsCheck) -> Table:
    """The rows as printed with their verdicts; below, what the table as a whole says."""
    unit = "%" if check.in_percent else "fractions"
    metrics = [metric for metric in METRICS if any(metric in row.claim.rates for row in check.rows)]
    table = Table(
        title=Text(f"{len(check.rows)} claims, in {unit}, and what rounding to the nearest allows"),
        caption=Text("\n".join(check.sentences)),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
    )
    table.add_column("claim", overflow="fold")
    for metric in metrics:
        table.add_column(metric, justify="right")
    table.add_column("verdict")
    table.add_column("implied share\nof positives", justify="right")
    has_f1 = any(row.f1_fit is not None for row in check.rows)
    has_size = any(row.integer_matrix != "size unknown" for row in check.rows)
    for column in [*(["F1 fits"] if has_f1 else []), *(["integer\nmatrix"] if has_size else [])]:
        table.add_column(column)
    for row in check.rows:
        table.add_row(
            Text(row.claim.name),
            *(str(row.claim.rates.get(metric, "")) for metric in metrics),
            Text(row.verdict, style=VERDICT_STYLES[row.verdict]),
            implied_share_words(row, SHARE_DIGITS),
            *([row.f1_fit if row.f1_fit is not None else "n/a"] if has_f1 else []),
            *([row.integer_matrix] if has_size else []),
        )
    return table


def reason_lines(check: ClaimsCheck) -> list[str]:
    """What there is to say of each row."""
    return [f"{row.claim.name}: {reason}" for row in check.rows for reason in row.reasons]


def write_claims(check: ClaimsCheck, path: Path) -> None:
    """Write the rows as CSV, or with the sentences as JSON, by the suffix of `path`; raises ClaimError."""
    rows = claims_table(check)
    document = {
        "in_percent": check.in_percent,
        "data_share": check.data_share,
        "one_test_set": check.one_test_set,
        "sentences": check.sentences,
        "rows": rows,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            if path.suffix == ".json":
                file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
            else:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
    except OSError as error:
        raise ClaimError(f"output={path} cannot be written: {error}; give a file that can be") from error


def implied_share_words(row: CheckedClaim, digits: int) -> str:
    """`0.557 (0.555 to 0.559)`; `none` of an impossible row, `n/a` where the row says too little."""
    if row.share_interval is None:
        return "none" if row.verdict == "impossible" else "n/a"
    point = "" if row.implied_share is None else f"{row.implied_share:.{digits}f} "
    return f"{point}({share_words(row.share_interval)})"
