"""What a reader must know before a number of the report: stamps in plain words, small samples, selection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from leukemia_lab.checklists import stamps
from leukemia_lab.evaluation.result_lines import FEW_SUBJECTS, choice_line
from leukemia_lab.pages.formats import counted, metric_name, percent
from leukemia_lab.reporting.contents import Caution
from leukemia_lab.reporting.leaderboard import Leaderboard, why_apart
from leukemia_lab.results.collect import Collected
from leukemia_lab.results.run_result import RunResult

LEVELS = ("act", "know", "fine")


def cautions(collected: Collected, boards: Sequence[Leaderboard]) -> list[Caution]:
    """The cautions of a report, the gravest first."""
    found = _of_stamps(collected)
    found += _of_choices(collected)
    found += _of_boards(boards)
    apart = why_apart(boards)
    found += [] if apart is None else [Caution("know", apart)]
    if collected.left_out:
        n = counted(len(collected.left_out), "run or job", "runs or jobs")
        found.append(Caution("know", f"{n} found but not reported; the reasons are listed under Left out."))
    changed = sum(str(run.record.get("commit")).endswith("+changes") for run in collected.runs)
    if changed:
        found.append(
            Caution(
                "know",
                f"{counted(changed, 'run')} of code with changes that are in no commit: nobody else has it.",
            )
        )
    return sorted(found, key=lambda caution: LEVELS.index(caution.level))


def stamp_counts(runs: Iterable[RunResult]) -> dict[str, int]:
    """Every stamp of any run, with the number of runs that bear it."""
    return dict(Counter(stamp for run in runs for stamp in run.stamps))


def _of_stamps(collected: Collected) -> list[Caution]:
    n_runs = len(collected.runs)
    about: dict[stamps.Meaning, list[str]] = {}
    for stamp, n in stamp_counts(collected.runs).items():
        who = "all runs" if n == n_runs else f"{n} of {n_runs} runs"
        about.setdefault(stamps.known(stamp) or stamps.UNKNOWN, []).append(f"{stamp} ({who})")
    return [Caution(meaning.level, f"{', '.join(who)}: {meaning.text}.") for meaning, who in about.items()]


def _of_choices(collected: Collected) -> list[Caution]:
    """What was chosen from a sweep by its validation figure, and how optimistic that makes this figure."""
    chosen = ((run.name, run.record.get("sweep_choice")) for run in collected.runs)
    return [
        Caution("know", f"{name} was {choice_line(choice)}. Quote its test figure, not that one.")
        for name, choice in chosen
        if choice is not None
    ]


def _of_boards(boards: Sequence[Leaderboard]) -> list[Caution]:
    """What is to be said of each leaderboard; of several, once with all their numbers."""
    checks = (_few_subjects, _no_intervals, _levels, _methods, _seen, _pooled, _selection, _ensemble)
    numbers: dict[str, list[str]] = {}
    for board in boards:
        for check in checks:
            text = check(board)
            if text is not None:
                numbers.setdefault(text, []).append(str(board.number))
    where = {
        text: f"Leaderboard{'s' if len(on) > 1 else ''} {', '.join(on)}: " for text, on in numbers.items()
    }
    return [Caution("know", (where[text] if len(boards) > 1 else "") + text) for text in numbers]


def _few_subjects(board: Leaderboard) -> str | None:
    by_class = subjects_by_class(board)
    few = {label: n for label, n in by_class.items() if n < FEW_SUBJECTS}
    if not few:
        return None
    named = " and ".join(
        f"{counted(n, 'subject')} with cells of class {label}" for label, n in sorted(few.items())
    )
    return (
        f"The {board.part} part has {named}. Subjects are what is sampled, not cells: with fewer than "
        f"{FEW_SUBJECTS} of a class, an interval is wide and rests on few patients, and most differences between "
        "models cannot be shown."
    )


def subjects_by_class(board: Leaderboard) -> dict[str, int]:
    """How many subjects have cells of each class in the part ranked by; empty where the runs do not say."""
    found = ((row.run, row.run.subject_rows(board.part)) for row in board.rows)
    run, subjects = next(((run, rows) for run, rows in found if rows), (board.first, []))
    counts = Counter(label for row in subjects for label in row["label"].split(", "))
    return {name: counts[name] for name in run.class_names} if subjects else {}


def _no_intervals(board: Leaderboard) -> str | None:
    ranked = [row.run.metrics[board.part][board.metric] for row in board.rows if row.rank is not None]
    without = sum(metric.get("low") is None for metric in ranked)
    if not without:
        return None
    return (
        f"{counted(without, 'run')} without an interval of {metric_name(board.metric)}: a value alone says little. "
        "Runs of an earlier version get theirs when they are evaluated again."
    )


def _levels(board: Leaderboard) -> str | None:
    if len(board.levels) < 2:
        return None
    levels = " and ".join(percent(level) for level in board.levels)
    return (
        f"The runs' intervals are at different levels, {levels}: their widths do not compare. Differences between "
        f"runs are at {percent(board.level)}."
    )


def _methods(board: Leaderboard) -> str | None:
    if len(board.methods) < 2:
        return None
    narrow = " With few subjects the bootstrap's are too narrow." if "bootstrap" in board.methods else ""
    return (
        f"The runs' intervals are of different methods, {' and '.join(board.methods)}: their widths do not "
        f"compare.{narrow} Differences between runs are all by the jackknife."
    )


def _ensemble(board: Leaderboard) -> str | None:
    if board.part != "val" or not any(row.run.is_ensemble for row in board.rows):
        return None
    return (
        "An ensemble's members are calibrated on the validation cells that it is shown on here, which flatters it; "
        "they were trained and chosen as their own rows say."
    )


def _seen(board: Leaderboard) -> str | None:
    runs = [member for row in board.rows for member in getattr(row.run, "members", (row.run,))]
    looks_of = {run.record["identity"]: int(run.record.get("test_looks", 0)) for run in runs}
    looks = sum(looks_of.values())
    if board.part != "test" or looks < 2:
        return None
    return (
        f"The test part of this split was opened {looks} times by the {counted(len(looks_of), 'run')} of this "
        "report. Choosing among them by this ranking makes it a validation part: confirm the choice on other subjects."
    )


def _selection(board: Leaderboard) -> str | None:
    n_runs = len(board.rows)
    if board.part != "val":
        return None
    used = (
        "Validation cells also chose each run's epoch or settings, its temperature and its operating point."
    )
    if n_runs < 2:
        return f"Values are of the validation part. {used} Expect less on new subjects."
    return (
        f"Values are of the validation part, and the best of {n_runs} runs is the best partly by luck: its value is "
        f"optimistic, whatever its interval. {used} Only a test part opened once says what to expect."
    )


def _pooled(board: Leaderboard) -> str | None:
    if not any(row.run.is_cross_validation for row in board.rows):
        return None
    if board.part == "test":
        return (
            "Test values of a cross-validation are of the pooled predictions, each cell by the model that never saw "
            "it; AUROC then ranks scores of different models against each other."
        )
    return "Validation values of a cross-validation are means over the folds and have no interval."
