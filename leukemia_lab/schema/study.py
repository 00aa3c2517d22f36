"""A study's YAML: `experiments/<study>/study.yaml`, or a user's own file."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from leukemia_lab.schema.fields import Count, Metric, Node, Share

Budget = Literal["smoke", "cpu", "full"]
Kind = Literal["table", "paper", "leakage_price", "negative_controls", "ablation", "challenge"]
ClaimedMetric = Literal["accuracy", "sensitivity", "specificity", "precision", "recall", "f1"]
LEAKAGE_ARMS = ("random", "apart", "merged")


def _as_printed(value: object) -> object:
    if isinstance(value, float | int):
        raise ValueError(
            f'{value}: write it in quotes, with the digits that are printed: "91.20" says more than 91.2'
        )
    return value


def _word(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError(f"{value!r} cannot be used; allowed: text, model=knn")
    return value


def _word_list(value: object) -> object:
    if not isinstance(value, list):
        raise ValueError(f"{value!r} cannot be used; allowed: a list in brackets, [model=knn]")
    return value


def _different_names(parts: list[Any]) -> list[Any]:
    names = [part.name for part in parts]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice!r} is the name of two; give each its own")
    return parts


Printed = Annotated[str, BeforeValidator(_as_printed)]
Overrides = Annotated[list[Annotated[str, BeforeValidator(_word)]], BeforeValidator(_word_list)]


class StudyPart(Node):
    """Overrides with a name; `budgets` has those that come after them at one budget alone."""

    name: Annotated[str, Field(min_length=1)]
    overrides: Overrides
    budgets: dict[Budget, Overrides] = Field(default={})

    def words(self, budget: Budget) -> Overrides:
        """The overrides at `budget`."""
        return [*self.overrides, *self.budgets.get(budget, [])]


class StudyArm(StudyPart):
    """What each row is trained under, a protocol for instance: a column of the table."""


class StudyRow(StudyPart):
    """A row of the table: a model, what a paper claims of it, whether it is there to be beaten.

    Several values of a key, as in a sweep, make several rows. `member`: of the ensemble that a challenge is won by.
    """

    claimed: dict[ClaimedMetric, Printed] | None = None
    baseline: bool = False
    member: bool = False
    test_time: Literal["none", "dihedral"] = "none"

    @property
    def claims(self) -> dict[str, str]:
        """The claims by metric, none where there are none."""
        return {} if self.claimed is None else {str(name): printed for name, printed in self.claimed.items()}


class ClaimsNode(Node):
    """What the paper says of its test set: the share of positive cells in its data, and how many cells it tests."""

    positive_share: Share | None = None
    n_cells: Count | None = None


class StudyNode(Node):
    """A study: each row is trained under each arm; the table's plain columns are of the last arm.

    `repeats` is how often each is trained, with another split and other weights each time; the table is of the first.
    The files are users' own, none stands in conf/: so the defaults stand here.
    """

    title: str
    question: str
    kind: Kind = "table"
    source: str | None = None
    claims: ClaimsNode = ClaimsNode()
    part: Literal["val", "test"] = "test"
    metric: Metric = "auroc"
    rows: Annotated[list[StudyRow], Field(min_length=1), AfterValidator(_different_names)]
    arms: Annotated[list[StudyArm], Field(min_length=1), AfterValidator(_different_names)]
    overrides: Overrides = Field(default=[])
    budgets: dict[Budget, Overrides] = Field(default={})
    repeats: dict[Budget, Count] = Field(default={})

    def kind_faults(self) -> list[str]:
        """What the analysis will need and is not there: to learn of it when all is trained would be too late."""
        faults = []
        if all(row.baseline for row in self.rows):
            faults.append(
                "rows: all are there to be beaten, none is there to beat them; make one no baseline"
            )
        if self.kind == "leakage_price":
            names = [arm.name for arm in self.arms]
            if set(names) != set(LEAKAGE_ARMS):
                faults.append(
                    f"kind leakage_price has the arms {', '.join(LEAKAGE_ARMS)}; given {', '.join(names)}"
                )
            if self.part != "test":
                faults.append("kind leakage_price is of predictions out of fold; leave out part: val")
        if self.kind == "challenge" and not any(row.member for row in self.rows):
            faults.append("kind challenge compares with an ensemble; mark its rows by member: true")
        if self.kind == "paper" and not any(row.claims for row in self.rows if not row.baseline):
            faults.append('kind paper compares with claims; give a row its claimed: {accuracy: "91.20"}')
        faults += [
            f"rows[{place}] {row.name!r}: a baseline's claims are not used; leave out claimed, or baseline: true"
            for place, row in enumerate(self.rows)
            if row.baseline and row.claims
        ]
        claiming = [repr(row.name) for row in self.rows if row.claims]
        if self.kind != "paper" and claiming:
            faults.append(
                f"rows {', '.join(claiming)} have claims, which kind {self.kind} takes no notice of: set kind: paper"
            )
        return faults
