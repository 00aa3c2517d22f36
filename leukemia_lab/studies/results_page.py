"""`results.md`: what all studies found, on one page that the same machine writes the same again."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path

from leukemia_lab.pages.formats import counted
from leukemia_lab.progress import CONSOLE, RESULTS
from leukemia_lab.reporting.page import markdown_text
from leukemia_lab.results.findings import Findings
from leukemia_lab.runs.record import made_folder, write_atomically
from leukemia_lab.schema.study import Budget
from leukemia_lab.studies.carrying_out import carry_out_study, prepared
from leukemia_lab.studies.definition import REPRODUCED
from leukemia_lab.studies.words import Words
from leukemia_lab.studies.writing import drawings, figure_names, markdown, write_figures

PAGE, FIGURES = "results.md", "results"
HOW_TO_READ = (
    "How to read it:",
    "",
    "- An *arm* is a protocol, or a net, that each row was trained under. Under `random_cells` cells of one subject "
    "are on both sides of the split; under `subject_kfold` subjects are predicted by models that never saw them.",
    "- `0.810 (0.750–0.860)` is a value and its 95 % interval over new subjects. Few subjects make wide intervals.",
    "- *p* is of the difference between two models on the same cells, corrected by Holm's method for how many were "
    "compared; below 0.05 they are told apart.",
    "- SYNTHETIC: the cells are drawn, so that no figure says anything of patients. LEAKY: the test part has subjects "
    "that were learnt from. TWINS IGNORED: names that share cells counted as different subjects. PERMUTED LABELS: some "
    "rows have labels that say nothing, on purpose.",
    "- The fingerprint stands for the pixels and names of the data: the same fingerprint, the same data. What a budget "
    "is stands in `docs/studies.md`, notes on each study in `experiments/<study>/README.md`.",
)
REAL = "python -m leukemia_lab.reproduce data=cnmc data.root=/data/C-NMC study.budget=full"


def reproduce(
    names: Sequence[str] | None, budget: Budget, output: Path, words: Words, *, check_only: bool
) -> bool:
    """Carry out the studies, write the page; returns whether all runs ended well, or the page is as it was.

    Raises:
        ConfigError: a study, or any run of one, cannot be begun; nothing has been.
    """
    studies = [prepared(name, budget, None, words) for name in (REPRODUCED if names is None else names)]
    command = ["python", "-m", "leukemia_lab.reproduce", f"study.budget={budget}"]
    command += [] if names is None else [f"studies={','.join(names)}"]
    command += [] if words.config_dir is None else [f"--config-dir={words.config_dir}"]
    command += words.overrides
    found = []
    for k, study in enumerate(studies, start=1):
        CONSOLE.print(f"\nstudy {k} of {len(studies)}: {study.study.name}, in {study.folder}", markup=False)
        found.append(carry_out_study(study, command))
    text = page(found, shlex.join(command))
    failed = [failure for findings in found for failure in findings.failures]
    for failure in failed:
        RESULTS.print(f"failed: {failure}", markup=False, soft_wrap=True)
    if check_only:
        return _is_as_it_was(text, found, output) and not failed
    made_folder(output, "output")
    for findings in found:
        write_figures(findings, output / FIGURES)
    for path in _stale_figures(found, output):
        path.unlink()
        RESULTS.print(f"removed: {path}, a figure of the page before", markup=False, soft_wrap=True)
    write_atomically(output / PAGE, text)
    RESULTS.print(f"{counted(len(found), 'study', 'studies')}: {output / PAGE}", markup=False)
    return not failed


def page(found: Sequence[Findings], command: str) -> str:
    """The page as Markdown: answers first, then each study."""
    stamps = dict.fromkeys(stamp for findings in found for stamp in findings.stamps)
    lines = ["# What the studies found", ""]
    lines += [" ".join(f"**[{markdown_text(stamp)}]**" for stamp in stamps), ""]
    lines += [
        f"Made by `{command}`; the same page for C-NMC 2019 comes of `{REAL}`. Budget `{found[0].budget}`, "
        f"{markdown_text(found[0].data)}.",
        "",
        *HOW_TO_READ,
        "",
        "| study | in short |",
        "| --- | --- |",
        *(
            f"| [{findings.name}](#{_anchor(findings.title)}) | {markdown_text(findings.headline)} |"
            for findings in found
        ),
        "",
    ]
    for findings in found:
        lines.append(markdown(findings, figure_names(findings), FIGURES, level=2))
    return "\n".join(lines).rstrip() + "\n"


def _anchor(title: str) -> str:
    """The id that code hosts give to a heading."""
    kept = "".join(char for char in title.lower() if char.isalnum() or char in " -_")
    return kept.replace(" ", "-")


def _stale_figures(found: Sequence[Findings], output: Path) -> list[Path]:
    """Figures of the page that is in `output` which that of `found` does not show."""
    before = _text_of(output / PAGE)
    shown = {name for findings in found for name in figure_names(findings).values()}
    return [
        path
        for path in sorted((output / FIGURES).glob("*.svg"))
        if path.name not in shown and f"({FIGURES}/{path.name})" in before
    ]


def _is_as_it_was(text: str, found: Sequence[Findings], output: Path) -> bool:
    """Whether page and figures are what the studies give; prints what differs."""
    before = _text_of(output / PAGE)
    lines = list(
        difflib.unified_diff(
            before.splitlines(), text.splitlines(), str(output / PAGE), "now", lineterm="", n=0
        )
    )
    for name, drawing in (one for findings in found for one in drawings(findings).items()):
        path = output / FIGURES / name
        if _text_of(path) != drawing:
            lines.append(f"{path} {'differs' if path.exists() else 'is missing'}")
    for line in lines:
        RESULTS.print(line, markup=False, soft_wrap=True)
    verdict = "and its figures are" if not lines else "or a figure of it is not"
    RESULTS.print(f"{output / PAGE} {verdict} what the studies give here", markup=False, soft_wrap=True)
    return not lines


def _text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
