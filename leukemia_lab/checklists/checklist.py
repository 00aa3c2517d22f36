"""Reporting checklists filled in as far as the runs' own files answer them, and open where only the authors can.

TRIPOD+AI (Collins et al. 2024, doi 10.1136/bmj-2023-078378) and CLAIM, 2024 update (Tejani et al. 2024, doi
10.1148/ryai.240300); the items stand beside this file, in words of our own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Any, Literal

import yaml

from leukemia_lab.checklists.facts import Facts

Status = Literal["filled", "partly", "authors"]

FILES = {"TRIPOD+AI": "tripod_ai.yaml", "CLAIM": "claim.yaml"}
SOURCES = {
    "TRIPOD+AI": "Collins et al., BMJ 2024;385:e078378",
    "CLAIM": "Tejani et al., Radiology: Artificial Intelligence 2024;6(4):e240300",
}
STATUS_WORDS: dict[Status, str] = {
    "filled": "answered by the records",
    "partly": "answered in part: the authors complete it",
    "authors": "only the authors can answer",
}


@dataclass(frozen=True)
class Item:
    """One item of a checklist with what is known of it.

    `id` is unique over the checklists (`tripod-ai-5a`, `claim-7`). `facts` are sentences from the records, none
    where the status is `authors`; `question` is what is left to the authors, None where it is `filled`.
    """

    id: str
    checklist: str
    number: str
    section: str
    asks: str
    status: Status
    facts: tuple[str, ...]
    question: str | None

    def as_json(self) -> dict[str, Any]:
        """The item as plain values."""
        return asdict(self) | {"facts": list(self.facts)}


def checklist(facts: Facts) -> list[Item]:
    """All items of both checklists in their order, filled in by `facts`."""
    return [_item(name, row, facts) for name in FILES for row in rows(name)]


@cache
def rows(name: str) -> tuple[dict[str, Any], ...]:
    """The items of the checklist `name` as they stand in its file."""
    text = (resources.files("leukemia_lab.checklists") / FILES[name]).read_text(encoding="utf-8")
    return tuple(yaml.safe_load(text))


def _item(name: str, row: dict[str, Any], facts: Facts) -> Item:
    of_subjects: list[tuple[str, ...]] = [getattr(facts, subject) for subject in row["facts"]]
    known = tuple(dict.fromkeys(text for found in of_subjects for text in found))
    status = _status(row, facts) if known else "authors"
    return Item(
        id=f"{name.lower().replace('+', '-')}-{row['number']}",
        checklist=name,
        number=row["number"],
        section=row["section"],
        asks=row["asks"],
        status=status,
        facts=known,
        question=None if status == "filled" else _question(row, facts),
    )


def _question(row: dict[str, Any], facts: Facts) -> str:
    """What is left to the authors; `left` words it by a subject that the records answer."""
    answered = (text for subject, text in row.get("left", {}).items() if getattr(facts, subject))
    return str(next(answered, row["question"]))


def _status(row: dict[str, Any], facts: Facts) -> Status:
    """`filled` where the facts are enough and none is missing, of any run; `validation` is one that should be."""
    wanted = [subject for subject in row["facts"] if subject != "validation"]
    complete = all(getattr(facts, subject) and subject not in facts.incomplete for subject in wanted)
    return "filled" if row.get("enough", False) and complete else "partly"


def as_markdown(items: Sequence[Item]) -> str:
    """The checklists as Markdown: a heading and a table each, with how many items are answered."""
    return "\n".join(_section(name, [item for item in items if item.checklist == name]) for name in FILES)


def _section(name: str, items: Sequence[Item]) -> str:
    counts = {
        status: sum(item.status == status for item in items) for status in ("filled", "partly", "authors")
    }
    lines = [
        f"## {name}",
        "",
        f"{SOURCES[name]}. Of {len(items)} items the records answer {counts['filled']}, and {counts['partly']} in "
        f"part; {counts['authors']} are left to the authors.",
        "",
        "| item | section | what it asks | status | answer |",
        "|---|---|---|---|---|",
    ]
    for item in items:
        cells = [item.number, item.section, item.asks, STATUS_WORDS[item.status], _answer(item)]
        lines.append("| " + " | ".join(_cell(text) for text in cells) + " |")
    return "\n".join([*lines, ""])


def _answer(item: Item) -> str:
    question = [] if item.question is None else [f"To the authors: {item.question}"]
    return " / ".join([*item.facts, *question])


def _cell(text: str) -> str:
    """Text that cannot break out of its cell, nor be taken for HTML."""
    plain = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return plain.replace("\\", "\\\\").replace("|", "\\|")
