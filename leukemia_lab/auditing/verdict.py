"""What an audit means, in sentences: what must be done, what to know, what is fine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple, get_args

from leukemia_lab.auditing.document import checked, completed
from leukemia_lab.auditing.overview import (
    both_names,
    copy_counts,
    faults_by_kind,
    group_borders,
    n_crossing,
    why_unmeasured,
)
from leukemia_lab.pages.formats import counted, decimal, estimate, whole, words

Level = Literal["act", "know", "fine"]
Document = Mapping[str, Any]
CHANCE_AUROC = 0.5
WELL_ABOVE_CHANCE = 0.6  # an AUROC worth a sentence although its interval holds 0.5, or there is none
ALL_FEATURES = "all"
# The document's key of each check, and its name where it was not made.
CHECKS = {
    "faults": "faults of files",
    "expected": "expected counts",
    "pairs": "copies",
    "groups": "subject names that share cells",
    "confounds": "confounds",
}
# What a copy may cross, in words for one pair and for several, and what to do about it.
CROSSINGS = (
    (
        "part",
        "joins training and test",
        "join training and test",
        "Results on that test part flatter; split by groups (protocol.twins=merge).",
    ),
    (
        "class",
        "bears two classes",
        "bear two classes",
        "One label of each is wrong: look at the pictures, mend it or remove both.",
    ),
    (
        "fold",
        "crosses the official folds",
        "cross the official folds",
        "The official folds leak; split by groups (protocol.twins=merge).",
    ),
)


class Finding(NamedTuple):
    """One sentence of the verdict."""

    level: Level
    text: str


def verdict(document: Document) -> list[Finding]:
    """What follows from an audit document, which may lack any of its parts; what must be done stands first."""
    full = completed(document)
    made = {
        "faults": _files,
        "expected": _expected,
        "pairs": _copies,
        "groups": _groups,
        "confounds": _confounds,
    }
    findings = _origin(full)
    for key, judge in made.items():
        findings += judge(full) if checked(document, key) else []
    missing = [name for key, name in CHECKS.items() if not checked(document, key)]
    if missing:
        findings.append(Finding("know", f"Not checked: {', '.join(missing)}."))
    return sorted(findings, key=lambda finding: get_args(Level).index(finding.level))


def _origin(document: Document) -> list[Finding]:
    findings = []
    if "SYNTHETIC" in document["stamps"]:
        text = "These cells are synthetic: nothing here is true of any patient."
        findings.append(Finding("know", text))
    if document["has_pixels"] is False:
        text = "No image was opened: only what the table says was looked at, so damaged files and near copies"
        findings.append(
            Finding("know", f"{text} are not known. Audit the images themselves before training.")
        )
    if document["n_cells"] == 0:
        findings.append(Finding("act", "No cell can be used, so nothing else could be judged."))
    elif document["n_subjects"] == 0:
        text = "There are no subject names: cells of one patient may stand on both sides of any split."
        todo = "Give them with data.subject_pattern or a metadata.csv."
        findings.append(Finding("know", f"{text} {todo}"))
    return findings + _accounts(document)


def _accounts(document: Document) -> list[Finding]:
    n_files, fates = document["n_files"], document["files"]
    if n_files is None or None in fates.values():
        return []
    parts = (
        counted(fates["cells"], "cell"),
        counted(fates["unusable"], "unusable file"),
        counted(fates["label_files"], "label file"),
        f"{fates['ignored']:,} ignored",
    )
    listed = f"{', '.join(parts[:-1])} and {parts[-1]}"
    if n_files == sum(fates.values()):
        return [Finding("fine", f"Every one of {counted(n_files, 'file')} is accounted for: {listed}.")]
    text = f"{counted(n_files, 'file')} were found, but {sum(fates.values()):,} are accounted for: {listed}."
    return [Finding("act", f"{text} This is a fault of the audit; please report it.")]


def _files(document: Document) -> list[Finding]:
    unusable = [fault for fault in document["faults"] if fault["usable"] is False]
    n_files = document["files"]["unusable"]
    n_bad = len({fault["file"] for fault in unusable}) if n_files is None else n_files
    findings = []
    if n_bad > 0:
        todo = "Mend what the reasons below say, or leave such files out with data.bad_files=skip."
        findings.append(Finding("act", f"{counted(n_bad, 'file')} cannot be used. {todo}"))
    elif document["has_pixels"] is not False:
        findings.append(Finding("fine", "No file is unusable."))
    n_others = len(unusable) - n_bad
    if n_others > 0:
        text = (
            f"{counted(n_others, 'fault')} of label tables or folders: cells may be missing because of them."
        )
        findings.append(Finding("act", f"{text} Mend the table, or the rights to the folder."))
    conspicuous = [fault for fault in faults_by_kind(document) if fault.usable is not False]
    if conspicuous:
        kinds = ", ".join(f"{fault.name} ({fault.n_files:,})" for fault in conspicuous)
        findings.append(Finding("know", f"Look at usable files with a peculiarity: {kinds}."))
    return findings


def _expected(document: Document) -> list[Finding]:
    expected = document["expected"]
    manifests = [_manifest(manifest) for manifest in expected["manifests"] if manifest["file"] is not None]
    findings = []
    if expected["agrees"] is True and expected["known"] is not False:
        findings.append(Finding("fine", "Parts, classes and subjects are as many as expected."))
    elif expected["agrees"] is None and "SYNTHETIC" not in document["stamps"]:
        text = "What this data should hold is not known, so nobody can tell whether cells are missing."
        findings.append(Finding("know", text))
    if expected["differences"]:
        first = expected["differences"][0]
        n = counted(len(expected["differences"]), "count is", "counts are")
        text = f"{n} not as expected, for one: {first}."
        findings.append(Finding("act", f"{text} Is the download complete?"))
    for key, one, many in (
        ("rows_without_file", "row of the label table has no file", "rows of the label table have no file"),
        ("files_without_row", "file has no row in the label table", "files have no row in the label table"),
    ):
        if expected[key]:
            text = f"{counted(len(expected[key]), one, many)}, for one {expected[key][0]}."
            findings.append(Finding("act", f"{text} Such cells are left out."))
    if expected["agrees"] is False and not findings and not manifests:
        findings.append(Finding("act", "The data is not as expected. Is the download complete?"))
    return findings + manifests


def _manifest(manifest: Mapping[str, Any]) -> Finding:
    differing, missing = len(manifest["differing"]), len(manifest["missing"])
    extra = manifest["not_listed"]
    beyond = f" {counted(extra, 'cell')} of the tree not in it." if extra else ""
    against = f"Manifest {manifest['file']}: {whole(manifest['checked'])} files checked,"
    if differing + missing > 0:
        text = f"{against} {differing:,} with other content, {missing:,} missing.{beyond}"
        return Finding("act", f"{text} Fetch these files again.")
    return Finding("fine", f"{against} all equal bit by bit.{beyond}")


def _copies(document: Document) -> list[Finding]:
    pairs, counts = document["pairs"], copy_counts(document)
    n_pairs = sum(count for _, count, _, _ in counts)
    if n_pairs == 0 and document["n_cells"] == 0:
        return []
    if n_pairs == 0:
        return [Finding("fine", "No cell is a copy of another.")]
    kinds = ", ".join(f"{count:,} {kind}" for kind, count, _, _ in counts)
    findings = [Finding("know", f"{counted(n_pairs, 'pair')} of cells show the same cell: {kinds}.")]
    for border, one, many, todo in CROSSINGS:
        n = n_crossing(pairs, border)
        if n > 0:
            text = f"{counted(n, 'pair')} of copies {one if n == 1 else many}."
            findings.append(Finding("act", f"{text} {todo}"))
        elif border in _borders(document):
            findings.append(Finding("fine", f"No pair of copies {one}."))
    return findings


def _borders(document: Document) -> set[str]:
    """The borders that copies could cross: those with something on both sides."""
    parts = {str(row["part"]).split(": ")[-1] for row in document["inventory"]}
    folds = {part for part in parts if part.startswith("fold_")}
    found = {"class"} if len({row["label"] for row in document["inventory"]}) > 1 else set()
    return (
        found | ({"fold"} if len(folds) > 1 else set()) | ({"part"} if "prelim" in parts and folds else set())
    )


def _groups(document: Document) -> list[Finding]:
    groups, twins = document["groups"], document["twins"]
    if document["n_subjects"] == 0:
        return []
    findings = []
    if groups:
        crossing = sum("fold" in group_borders(group, twins) for group in groups)
        shares = "shares cells" if len(groups) == 1 else "share cells"
        patient = "as names of one patient would"
        across = f"{crossing:,} {'crosses' if crossing == 1 else 'cross'} the official folds"
        names = "; ".join(" = ".join(group) for group in groups[:6])
        names += "; …" if len(groups) > 6 else ""
        text = f"{counted(len(groups), 'group')} of subject names {shares}, {patient}; {across} ({names})."
        findings.append(Finding("act", f"{text} Keep protocol.twins=merge, so that no split parts them."))
    else:
        findings.append(Finding("fine", "No two subject names share more cells than chance allows."))
    for code, one, many, text in (
        ("tied", "shares a few cells", "share a few cells", "too few for twins; a split keeps them together"),
        ("kept apart", "is kept apart", "are kept apart", "by the user although they share cells"),
    ):
        alike = [twin for twin in twins if twin["verdict"] == code]
        if alike:
            pairs = f"{counted(len(alike), 'pair')} of subject names {one if len(alike) == 1 else many}"
            first = both_names(alike[0]) + ("; …" if len(alike) > 1 else "")
            findings.append(Finding("know", f"{pairs} ({first}), {text}."))
    return findings


def _confounds(document: Document) -> list[Finding]:
    confounds = document["confounds"]
    return _class_confound(confounds["class"]) + _subject_confound(confounds["subject"]) + _worth(confounds)


def _class_confound(features: Mapping[str, Any]) -> list[Finding]:
    single = {
        name: row["auroc"]
        for name, row in features.items()
        if name != ALL_FEATURES and row["auroc"]["value"] is not None
    }
    if not single:
        reason = why_unmeasured((row["auroc"] for row in features.values()), "value")
        why = "" if reason is None else f": {reason}"
        return [Finding("know", f"How well size or colour alone tell the classes was not measured{why}.")]
    proven = {
        name: row for name, row in single.items() if row["low"] is not None and row["low"] > CHANCE_AUROC
    }
    ranked = proven if proven else single
    name = max(ranked, key=lambda feature: ranked[feature]["value"])
    text = f"{words(name).capitalize()} alone tells the classes apart with AUROC {estimate(ranked[name])}"
    if proven:
        return [Finding("know", f"{text}: a model must clearly beat that.")]
    if ranked[name]["value"] >= WELL_ABOVE_CHANCE:
        return [
            Finding("know", f"{text}: perhaps by chance, with so few groups, but a model must beat that too.")
        ]
    return [Finding("fine", "No plain feature alone tells the classes apart better than chance does.")]


def _subject_confound(features: Mapping[str, Any]) -> list[Finding]:
    times = {
        name: row["balanced_accuracy"] / row["chance"]
        for name, row in features.items()
        if name != ALL_FEATURES and row["balanced_accuracy"] is not None and row["chance"]
    }
    if not times:
        return []
    name = max(times, key=lambda feature: times[feature])
    text = f"{words(name).capitalize()} alone names the subject {decimal(times[name], 1)} times as often as chance."
    return [Finding("know" if times[name] > 1 else "fine", text)]


def _worth(confounds: Mapping[str, Any]) -> list[Finding]:
    findings = []
    for label, features in confounds["icc"].items():
        known = {name: row for name, row in features.items() if row["n_effective"] is not None}
        if known:
            name = min(known, key=lambda feature: known[feature]["n_effective"])
            row = known[name]
            cells = f"{whole(row['n_cells'])} {label} cells of {whole(row['n_subjects'])} subjects"
            text = f"Judged by {words(name)}, {cells} are worth {whole(row['n_effective'])} independent ones:"
            findings.append(Finding("know", f"{text} intervals must be by subject."))
    return findings
