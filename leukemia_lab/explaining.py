"""What a run leaves to look at of a part: its most confident errors as pictures, and where its net looked.

`explained/<part>/cells.json` and JPEGs beside it; two figures, in `figures/` and in TensorBoard.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from lightning.pytorch.loggers import TensorBoardLogger

from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.estimators.attribution import METHOD, cell_mask, grad_cam, mass_on_cell, shown_inputs
from leukemia_lab.estimators.neural import CellClassifier
from leukemia_lab.evaluation.attribution_figures import error_grid_figure, mass_figure
from leukemia_lab.evaluation.confident_errors import confident_errors, decisions, even_sample
from leukemia_lab.evaluation.pictures import SIDE_PX, jpeg, overlay, resized
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs import record, tensorboard
from leukemia_lab.runs.record import RunFolder

ERRORS = 16
SAMPLE = 64  # cells whose maps are measured
NO_BACKGROUND = "the cells stand on no black background, so the mass on the cell cannot be told from the rest"
NO_MASS = "nothing in the measured cells speaks for the class that the net predicts: their maps are empty"


@dataclass(frozen=True)
class Maps:
    """Of n cells: maps float32 [n, H, W], 0 or more, the layer that they come from, and the net's inputs as uint8
    [n, H, W, 3] for a look, None where the net sees the cells as they are.
    """

    maps: npt.NDArray[np.float32]
    layer: str
    inputs: npt.NDArray[np.uint8] | None


@dataclass(frozen=True)
class Part:
    """The predictions of one part: `decisions` of it, and the cells uint8 [n, H, W, 3] of any of its rows."""

    name: str
    title: str
    decided: pd.DataFrame
    data: CellDataModule

    def batch(self, rows: pd.Series[int]) -> torch.Tensor:
        """uint8 [n, 3, H, W] of these rows of the part."""
        of_index = self.data.rows[self.name]
        chosen = of_index[torch.from_numpy(rows.to_numpy(dtype=np.int64, copy=True)).to(of_index.device)]
        return self.data.cells[chosen, 0]["image"]

    def images(self, rows: pd.Series[int]) -> npt.NDArray[np.uint8]:
        """uint8 [n, H, W, 3] of these rows of the part."""
        return _pictures(self.batch(rows))


def explain(
    folder: RunFolder,
    part: str,
    predictions: pd.DataFrame,
    data: CellDataModule,
    model: CellClassifier | None,
    logger: TensorBoardLogger,
    step: int,
) -> None:
    """Write `explained/<part>/`, replacing what is there, and draw the figures; never an error of its own.

    `predictions` hold the part in the order of the data module's rows; `model` is the fitted net, or None where the
    run has none. Where no map can be made, the cells are shown without, and cells.json and the console say why; where
    nothing can be written, the console does.
    """
    try:
        table = predictions[predictions["part"] == part]
        stamps = "".join(f" [{stamp}]" for stamp in folder.record["stamps"])
        shown = Part(part, f"{part}{stamps}", decisions(table, folder.record["class_names"]), data)
        _explain(folder, shown, model, logger, step)
    except Exception as error:  # the result is there and must not be lost over its pictures
        CONSOLE.print(f"note: the errors of part {part} are not shown: {_said(error)}", markup=False)


def _explain(
    folder: RunFolder, part: Part, model: CellClassifier | None, logger: TensorBoardLogger, step: int
) -> None:
    errors = confident_errors(part.decided, ERRORS)
    sample = even_sample(part.decided, SAMPLE)
    looked = pd.concat([errors, sample.drop(index=errors.index, errors="ignore")])
    maps: Maps | None = None
    reason: str | None = f"{folder.record['model']} is no neural net: it has no layer to look into"
    if model is not None:
        try:
            maps, reason = _maps(part, looked, model, folder.record["class_names"]), None
        except Exception as error:
            reason = _said(error)
            CONSOLE.print(f"note: no {METHOD} of part {part.name}: {reason}", markup=False)
    looked = _measured(part, looked, maps)
    errors, sample = looked.head(len(errors)), looked.loc[sample.index]
    stages = _stages(part, errors, maps)
    _write(folder.path / record.EXPLAINED / part.name, _document(part, errors, sample, maps, reason), stages)
    _draw(folder, part, errors, sample, stages, logger, step)


def _maps(part: Part, cells: pd.DataFrame, model: CellClassifier, class_names: Sequence[str]) -> Maps:
    """Of the class that each cell was predicted as."""
    home = model.device
    images = part.batch(cells["row"])
    classes = torch.tensor([class_names.index(name) for name in cells["predicted"]], dtype=torch.int64)
    try:
        found = grad_cam(model.to(part.data.device), images, classes)
        inputs = shown_inputs(model, images)
    finally:
        model.to(home)
    shown = None if inputs is None else _pictures((inputs * 255).round().to(torch.uint8))
    return Maps(found.maps.numpy(), found.layer, shown)


def _measured(part: Part, cells: pd.DataFrame, maps: Maps | None) -> pd.DataFrame:
    """The cells with columns `mass_on_cell` and `area_share`, NaN where unknown, and `place`, that of their map."""
    mask = cell_mask(part.images(cells["row"]))
    area = np.where(mask.any(axis=(1, 2)), mask.mean(axis=(1, 2)), np.nan)
    mass = np.full(len(cells), np.nan) if maps is None else mass_on_cell(maps.maps, mask)
    return cells.assign(mass_on_cell=mass, area_share=area, place=np.arange(len(cells)))


def _stages(part: Part, errors: pd.DataFrame, maps: Maps | None) -> dict[str, list[npt.NDArray[np.uint8]]]:
    """What is shown of each error, uint8 [SIDE_PX, SIDE_PX, 3]: the cell, the net's input, the attribution."""
    if errors.empty:
        return {}
    images = part.images(errors["row"])
    stages = {"cell": [resized(image, SIDE_PX) for image in images]}
    if maps is not None and maps.inputs is not None:
        stages["input"] = [resized(maps.inputs[place], SIDE_PX) for place in errors["place"]]
    if maps is not None:
        pairs = zip(images, errors["place"], strict=True)
        stages["attribution"] = [overlay(image, maps.maps[place], SIDE_PX) for image, place in pairs]
    return stages


def _document(
    part: Part, errors: pd.DataFrame, sample: pd.DataFrame, maps: Maps | None, reason: str | None
) -> dict[str, Any]:
    """The content of cells.json."""
    known = sample[sample["mass_on_cell"].notna()]
    no_mass = None
    if maps is not None and known.empty:
        no_mass = NO_BACKGROUND if sample["area_share"].isna().all() else NO_MASS
    stages = ["cell"]
    if maps is not None:
        stages += ["attribution"] if maps.inputs is None else ["input", "attribution"]
    return {
        "method": METHOD,
        "library": _library(),
        "layer": None if maps is None else maps.layer,
        "reason": reason,
        "mass_on_cell": _spread(known["mass_on_cell"]),
        "area_share": _spread(known["area_share"]),
        "mass_reason": no_mass,
        "n_errors": int((part.decided["label"] != part.decided["predicted"]).sum()),
        "cells": [
            _described(row) | {"files": _files(place, stages)}
            for place, row in enumerate(errors.to_dict("records"))
        ],
        "sample": [_described(row) for row in sample.to_dict("records")],
    }


def _library() -> str | None:
    try:
        return f"captum {metadata.version('captum')}"
    except metadata.PackageNotFoundError:
        return None


def _described(row: dict[Any, Any]) -> dict[str, Any]:
    names = ("cell_id", "subject", "group", "label", "predicted")
    numbers = ("prob_predicted", "prob_true", "mass_on_cell", "area_share")
    described: dict[str, Any] = {name: None if pd.isna(row[name]) else str(row[name]) for name in names}
    return described | {name: None if np.isnan(row[name]) else round(row[name], 6) for name in numbers}


def _files(place: int, stages: Sequence[str]) -> dict[str, str | None]:
    return {
        stage: _file(place, stage) if stage in stages else None for stage in ("cell", "input", "attribution")
    }


def _file(place: int, stage: str) -> str:
    return f"{place:02}_{stage}.jpg"


def _spread(values: pd.Series[float]) -> dict[str, Any] | None:
    if values.empty:
        return None
    middle, mean = float(values.median()), float(values.mean())
    return {"median": round(middle, 6), "mean": round(mean, 6), "n_cells": len(values)}


def _write(path: Path, document: dict[str, Any], stages: dict[str, list[npt.NDArray[np.uint8]]]) -> None:
    """Write the folder beside `path`, then put it in its place: a reader sees the old one or the new one whole."""
    path.parent.mkdir(exist_ok=True)
    partial, old = (path.with_name(f".{path.name}.{kind}.{os.getpid()}") for kind in ("new", "old"))
    try:
        partial.mkdir()
        for stage, pictures in stages.items():
            for place, picture in enumerate(pictures):
                (partial / _file(place, stage)).write_bytes(jpeg(picture))
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        (partial / record.EXPLAINED_CELLS).write_text(text + "\n", encoding="utf-8")
        if path.exists():
            path.rename(old)
        partial.rename(path)
    finally:
        for leftover in (partial, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _draw(
    folder: RunFolder,
    part: Part,
    errors: pd.DataFrame,
    sample: pd.DataFrame,
    stages: dict[str, list[npt.NDArray[np.uint8]]],
    logger: TensorBoardLogger,
    step: int,
) -> None:
    """The figures of this part; those of an earlier look that do not apply any more go."""
    figures = {}
    if not errors.empty:
        grid = {stage: np.stack(pictures) for stage, pictures in stages.items()}
        captions = [_caption(row) for row in errors.to_dict("records")]
        figures["errors"] = error_grid_figure(grid, captions, f"most confident errors, {part.title}")
    known = sample[sample["mass_on_cell"].notna()]
    if not known.empty:
        figures["attribution"] = mass_figure(
            known["mass_on_cell"].to_numpy(),
            known["area_share"].to_numpy(),
            (known["label"] == known["predicted"]).to_numpy(),
            f"{METHOD}, {part.title}",
        )
    for name in ("errors", "attribution"):
        path = folder.path / record.FIGURES / f"{name}_{part.name}.png"
        if name not in figures:
            path.unlink(missing_ok=True)
            continue
        figures[name].savefig(path)
        tensorboard.log_figure(logger, f"{name}/{part.name}", figures[name], step)


def _caption(row: dict[Any, Any]) -> str:
    subject = "" if pd.isna(row["subject"]) else f"\nsubject {row['subject']}"
    return f"{row['label']} as {row['predicted']} {row['prob_predicted']:.2f}{subject}"


def _pictures(images: torch.Tensor) -> npt.NDArray[np.uint8]:
    """uint8 [n, 3, H, W] as [n, H, W, 3]."""
    pictures: npt.NDArray[np.uint8] = images.permute(0, 2, 3, 1).cpu().contiguous().numpy()
    return pictures


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
