"""Download C-NMC 2019 and compare it with what was published: `python -m leukemia_lab.download data=cnmc`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from leukemia_lab.command import Command, Place, run_command
from leukemia_lab.errors import ConfigError
from leukemia_lab.schema import DownloadSettings


def job(settings: DownloadSettings, place: Place) -> None:
    """Download and count."""
    from hydra.core.hydra_config import HydraConfig

    from leukemia_lab.downloading import download

    idle = [text for text in HydraConfig.get().overrides.task if text.lstrip("+").startswith("data.")]
    if idle:
        raise ConfigError(f"{', '.join(idle)}: of no effect; the folder of a download is output=<folder>")
    download(settings.mirror, settings.output)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    command = Command("download", DownloadSettings, job, lambda _: [])
    return run_command(command, sys.argv[1:] if argv is None else argv)


if __name__ == "__main__":
    sys.exit(main())
