"""Every stamp that applies to a run stands in all that comes of it: one tiny run for each, through the commands."""

from __future__ import annotations

import csv
import html
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text
from small_runs import DATA, DONE, MORE_DATA, NET, record_of
from small_trees import class_tree
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from torch.utils.tensorboard import SummaryWriter

from leukemia_lab import compare, evaluate, report, train
from leukemia_lab.runs import record

KNN = ("model=knn", "model.features.size=8", "model.classifier.grid.n_neighbors=[3]")
SYNTHETIC, LEAKY, NO_SUBJECTS, IGNORED = "SYNTHETIC", "LEAKY", "NO SUBJECTS", "TWINS IGNORED"
SEEN, AVERAGED, PERMUTED = "TEST SEEN 2 TIMES", "DIHEDRAL AVERAGING", "PERMUTED LABELS"
NAMED = (SYNTHETIC, LEAKY, NO_SUBJECTS, IGNORED, "TEST SEEN", AVERAGED, PERMUTED)
SUBJECTS = {"blast": [f"b{n}" for n in range(6)], "normal": [f"n{n}" for n in range(6)]}


@dataclass(frozen=True)
class Case:
    """What to train, with which stamps; what to evaluate it with, twice; `tree` stands for a tree without subjects."""

    overrides: tuple[str, ...]
    stamps: tuple[str, ...]
    evaluated: tuple[str, ...] = ()
    later: tuple[str, ...] = (SEEN,)
    tree: bool = False


AVERAGE = ("test_time=dihedral",)
TWO_FOLDS = ("protocol=subject_kfold", "protocol.n_folds=2", "protocol.fold=all")
CASES = {
    "leaky net, averaged": Case(
        (*DATA, *NET, "protocol=random_cells"), (SYNTHETIC, LEAKY), AVERAGE, (AVERAGED, SEEN)
    ),
    "twins ignored, labels permuted": Case(
        (*MORE_DATA, *KNN, "protocol.twins=ignore", "permute_labels=0"), (SYNTHETIC, IGNORED, PERMUTED)
    ),
    "no subjects": Case(
        ("data=folder", *KNN, "pipeline.image_size=32", "protocol=random_cells"),
        (LEAKY, NO_SUBJECTS),
        tree=True,
    ),
    "folds of nets, averaged": Case(
        (*MORE_DATA, *NET, "trainer.max_epochs=1", *TWO_FOLDS, "protocol.twins=ignore"),
        (SYNTHETIC, IGNORED),
        AVERAGE,
        (AVERAGED, SEEN),
    ),
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """All words of each figure that TensorBoard was given, by folder and tag, the last of a tag."""
    words: dict[str, str] = {}
    add_figure = SummaryWriter.add_figure

    def spied(self: SummaryWriter, tag: str, figure: Figure, *others: Any, **named: Any) -> None:
        found = figure.findobj(Text)
        words[f"{self.log_dir} {tag}"] = " ".join(text.get_text() for text in found if isinstance(text, Text))
        add_figure(self, tag, figure, *others, **named)

    monkeypatch.setattr(SummaryWriter, "add_figure", spied)
    return words


def events_of(folder: Path) -> Iterator[EventAccumulator]:
    for file in sorted((folder / record.TENSORBOARD).rglob("events*")):
        yield EventAccumulator(str(file)).Reload()


def text_of(folder: Path) -> str:
    """The stamps of the text tab, those logged last."""
    found = [
        (event.wall_time, event.tensor_proto.string_val[0].decode())
        for events in events_of(folder)
        for tag in events.Tags()["tensors"]
        if tag.startswith("run/stamps")
        for event in events.Tensors(tag)
    ]
    return max(found)[1]


def hparams_of(folder: Path) -> str:
    """The column `stamps` of the HParams tab, as logged last."""
    found = []
    for events in events_of(folder):
        if "_hparams_/session_start_info" in events.summary_metadata:
            content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
            info = HParamsPluginData.FromString(content).session_start_info
            found.append((info.start_time_secs, info.hparams["stamps"].string_value))
    return max(found)[1]


# Where each stamp of a run folder has to stand.
PLACES: dict[str, Callable[[Path], str]] = {
    "record.json": lambda folder: ", ".join(record_of(folder)["stamps"]),
    "metrics.json": lambda folder: ", ".join(record.read_json(folder / record.METRICS)["stamps"]),
    "TensorBoard's text": text_of,
    "TensorBoard's HParams": hparams_of,
}


def page_stamps(folder: Path) -> str:
    """The stamps at the head of the report and at its one run, which are the same."""
    page = (folder / report.PAGE).read_text(encoding="utf-8")
    found = [html.unescape(text) for text in re.findall(r'<strong class="stamp">\s*(.*?)\s*<', page)]
    head, of_run = found[: len(found) // 2], found[len(found) // 2 :]
    assert head == of_run
    return ", ".join(head)


def text_stamps(folder: Path) -> str:
    """The stamps at the head of the report as Markdown."""
    return ", ".join(re.findall(r"\*\*\[(.*?)\]\*\*", (folder / report.TEXT).read_text(encoding="utf-8")))


def table_stamps(folder: Path) -> str:
    """The column `stamps` of the leaderboard's one row."""
    with (folder / report.TABLE).open(encoding="utf-8", newline="") as file:
        [row] = csv.DictReader(file)
    return row["stamps"]


def compared_stamps(folder: Path) -> str:
    """The stamps of the comparison, which are those of both its runs."""
    document = record.read_json(folder / "comparison.json")
    assert [row["stamps"] for row in document["runs"]] == [document["stamps"]] * 2
    return ", ".join(document["stamps"])


# Where each stamp of a run has to stand of what is made of it elsewhere.
MADE_OF_RUNS: dict[str, Callable[[Path], str]] = {
    report.PAGE: page_stamps,
    report.TEXT: text_stamps,
    report.TABLE: table_stamps,
    "comparison.json": compared_stamps,
}


def runs_in(folder: Path) -> list[Path]:
    """The run, or the cross-validation and its folds."""
    return [folder, *sorted(folder.glob("fold_*"))]


def require(stamps: tuple[str, ...], text: str, where: str) -> None:
    """Each stamp is there, and no other."""
    flat = " ".join(text.split())  # a terminal's title may wrap
    assert [stamp for stamp in stamps if stamp not in flat] == [], f"missing in {where}: {text}"
    others = [name for name in NAMED if not any(stamp.startswith(name) for stamp in stamps)]
    assert [name for name in others if name in flat] == [], f"not of this run, in {where}: {text}"


def require_everywhere(folder: Path, stamps: tuple[str, ...], printed: str) -> None:
    require(stamps, printed[printed.index("Metrics") :], "the terminal's table")
    for run in runs_in(folder):
        for where, read in PLACES.items():
            require(stamps, read(run), f"{where} of {run.name}")


def require_in_what_is_made_of(
    folder: Path, stamps: tuple[str, ...], output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main([f"runs={folder}", f"output={output}"]) == DONE
    require(stamps, capsys.readouterr().out, "what report prints")
    same = shutil.copytree(folder, folder.with_name("same"), ignore=shutil.ignore_patterns("fold_*"))
    assert compare.main([f"a={folder}", f"b={same}", f"output={output}"]) == DONE
    require(stamps, capsys.readouterr().out, "what compare prints")
    for where, read in MADE_OF_RUNS.items():
        require(stamps, read(output), where)


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_stamps_stand_everywhere(
    case: Case, figures: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = [f"data.root={class_tree(tmp_path / 'cells', SUBJECTS, 4)}"] if case.tree else []
    folder = tmp_path / "run"
    assert train.main([*case.overrides, *root, f"hydra.run.dir={folder}"]) == DONE
    require_everywhere(folder, case.stamps, capsys.readouterr().out)
    assert figures
    for name, words in figures.items():
        require(case.stamps, words, f"the figure {name}")

    assert evaluate.main([f"run={folder}", *case.evaluated]) == DONE
    capsys.readouterr()
    figures.clear()
    assert evaluate.main([f"run={folder}", *case.evaluated]) == DONE
    stamps = (*case.stamps, *case.later)
    require_everywhere(folder, stamps, capsys.readouterr().out)
    assert figures
    for name, words in figures.items():
        require(stamps, words, f"the figure {name}")
    require_in_what_is_made_of(folder, stamps, tmp_path / "made", capsys)


def test_the_table_of_a_sweep_is_stamped(capsys: pytest.CaptureFixture[str]) -> None:
    sweep = [*DATA, *KNN, "protocol=subject_holdout,random_cells", "hydra.sweep.dir=sweep"]
    assert train.main(["-m", *sweep]) == DONE
    printed = capsys.readouterr().out
    assert f"[{SYNTHETIC}] [{LEAKY}]" in " ".join(printed.split())
    assert f"{SYNTHETIC};{LEAKY}" in Path("sweep/table.csv").read_text()
