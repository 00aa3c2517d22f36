"""Export features, one row a cell: `python -m leukemia_lab.export_features run=runs/<name>` or `model=vgg16`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leukemia_lab.command import Command, Place, run_command
from leukemia_lab.errors import ConfigError
from leukemia_lab.schema import ExportSettings

WITH_A_RUN = ("run", "features", "parts", "output", "data_root", "force", "pixels", "morphology", "trainer")


def job(settings: ExportSettings, place: Place) -> None:
    """Write the file of features."""
    from hydra.core.hydra_config import HydraConfig

    from leukemia_lab.exporting import export

    if settings.run is not None:
        _refuse_a_second_answer(HydraConfig.get().overrides.task)
    export(settings)


def _refuse_a_second_answer(overrides: Sequence[str]) -> None:
    """A run has its own data, model and pipeline: what the command line says of them would be of no effect."""
    idle = [
        text for text in overrides if text.lstrip("+").partition("=")[0].partition(".")[0] not in WITH_A_RUN
    ]
    if idle:
        raise ConfigError(
            f"{', '.join(idle)}: of no effect, as run=… brings its own; leave it out, or leave run out"
        )


def build_faults(settings: ExportSettings) -> list[str]:
    """What building the net shows, and what a run and a model together leave open."""
    from leukemia_lab.exporting import export_faults

    return export_faults(settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("export_features", ExportSettings, job, build_faults)
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
