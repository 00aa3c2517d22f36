"""What a study found, as plain values: sections of sentences, tables and drawings; all files are written from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from leukemia_lab.errors import RunError
from leukemia_lab.plots.svg import Plot
from leukemia_lab.results.collect import LeftOut
from leukemia_lab.runs import record

STUDY = "study.json"  # at the top of a study's folder


@dataclass(frozen=True)
class StudyTable:
    """A table as it is shown; `headers` and every row of `rows` have as many words. `note` stands below."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str | None = None


@dataclass(frozen=True)
class Section:
    """A part of a study's results: sentences, then a table, then a drawing, as far as there are any."""

    title: str
    sentences: tuple[str, ...] = ()
    table: StudyTable | None = None
    drawing: Plot | None = None


@dataclass(frozen=True)
class Findings:
    """A study's results: `rows` are those of table.csv, `failures` name the runs that have none.

    `headline` answers the question in a sentence or two, `data` says what data they are of, `stamps` what makes them
    less than honest, `overruled` the words of the command line that changed the study.
    """

    name: str
    title: str
    question: str
    source: str | None
    budget: str
    data: str
    stamps: tuple[str, ...]
    headline: str
    sections: tuple[Section, ...]
    rows: tuple[Mapping[str, Any], ...]
    failures: tuple[str, ...]
    overruled: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """As study.json has it."""
        return asdict(self)

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Findings:
        """The findings that `document` was made of."""
        sections = tuple(
            Section(
                section["title"],
                tuple(section["sentences"]),
                None if section["table"] is None else _table(section["table"]),
                None if section["drawing"] is None else Plot(*section["drawing"]),
            )
            for section in document["sections"]
        )
        lists = {key: tuple(document[key]) for key in ("stamps", "rows", "failures", "overruled")}
        return cls(**{**document, **lists, "sections": sections})


def _table(values: Mapping[str, Any]) -> StudyTable:
    return StudyTable(tuple(values["headers"]), tuple(map(tuple, values["rows"])), values["note"])


def read_findings(folder: Path) -> Findings:
    """The findings of the study in `folder`; RunError where its study.json is missing or damaged."""
    document = record.read_json(folder / STUDY)
    try:
        return Findings.of_document(document)
    except (KeyError, TypeError) as error:
        raise RunError(
            f"{folder / STUDY} is damaged or of another version ({error}): repeat the study's command, which "
            "writes it anew"
        ) from error


def findings_in(places: Sequence[Path]) -> tuple[list[Findings], list[LeftOut]]:
    """The findings of the studies whose folders are among `places`, or stand directly in one of them.

    A study.json that cannot be read is left out with the reason.
    """
    files = [path for place in places for path in (place / STUDY, *sorted(place.glob(f"*/{STUDY}")))]
    found, left_out = [], []
    for path in dict.fromkeys(files):
        if path.exists():
            try:
                found.append(read_findings(path.parent))
            except RunError as error:
                left_out.append(LeftOut(str(path), str(error)))
    return found, left_out
