"""In how many pieces a run trains each batch: recorded, taken up by a resume, doubled where memory runs out."""

from __future__ import annotations

from pathlib import Path

import torch

from leukemia_lab.data.datamodule import CellDataModule
from leukemia_lab.device import device_name
from leukemia_lab.errors import TrainingError
from leukemia_lab.estimators.checkpoints import LAST
from leukemia_lab.progress import CONSOLE
from leukemia_lab.runs import record
from leukemia_lab.runs.record import RunFolder


class BatchPieces:
    """The pieces in effect, in the data module and in the record of `folder`.

    The record's `accumulated_batches` are the pieces that each device trains one after the other before a step of the
    optimiser, `batch_in_memory` the cells of the largest, and `out_of_memory` says where memory ran out. A net that
    is `normalised` over the cells in memory (batch normalisation) needs two at a time, and `batch_norm_note` says that
    it saw fewer than a batch.
    """

    def __init__(self, folder: RunFolder, data: CellDataModule, *, normalised: bool) -> None:
        self.folder, self.data, self.normalised = folder, data, normalised
        fewest = 2 if normalised else 1
        self.most = max(1, data.train_batches().smallest // (fewest * data.n_ranks))
        self.began_with = min(folder.record.get("accumulated_batches", 1), self.most)
        data.accumulate(self.began_with)
        self._note(folder.record.get("out_of_memory", []))

    def double(self) -> None:
        """Cut each batch into twice as many pieces, as far as it has cells for them; says so.

        Raises:
            TrainingError: a piece is as small as it can be.
        """
        in_memory, device = self.data.batch_in_memory, device_name(self.data.device)
        happened = {"epoch": self._epoch(), "batch_in_memory": in_memory, "device": device}
        out_of_memory = [*self.folder.record["out_of_memory"], happened]
        if self.data.accumulated >= self.most:
            # a repeat, perhaps on another device, begins as this attempt did
            self.folder.update(accumulated_batches=self.began_with, out_of_memory=out_of_memory)
            raise TrainingError(
                f"{device}: out of memory training {in_memory} cell(s) at a time, which is the least. Free memory on "
                "it, or set trainer.resident=false, a smaller pipeline.image_size or a smaller net"
            )
        self.data.accumulate(min(2 * self.data.accumulated, self.most))
        self._note(out_of_memory)
        norm = "; batch normalisation sees these alone" if self.normalised else ""
        CONSOLE.print(
            f"out of memory in epoch {happened['epoch']} with {in_memory} cells at a time: going on with "
            f"{self.data.batch_in_memory}, {self.data.accumulated} times a step, so that the effective batch stays "
            f"{self.data.batch_size}{norm}",
            markup=False,
        )

    def _note(self, out_of_memory: list[dict[str, object]]) -> None:
        in_memory, accumulated = self.data.batch_in_memory, self.data.accumulated
        note = f"batch normalisation saw at most {in_memory} cells at a time, not {self.data.batch_size}"
        self.folder.update(
            accumulated_batches=accumulated,
            batch_in_memory=in_memory,
            out_of_memory=out_of_memory,
            batch_norm_note=note if self.normalised and accumulated > 1 else None,
        )

    def _epoch(self) -> int:
        """The epoch that was being trained: the one after that of the last checkpoint."""
        last: Path = self.folder.path / record.CHECKPOINTS / LAST
        if not last.exists():
            return 0
        return int(torch.load(last, map_location="cpu", weights_only=True, mmap=True)["epoch"]) + 1
