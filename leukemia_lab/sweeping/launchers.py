"""From a `launcher` node to the launcher that it names; what is missing for it."""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path

from leukemia_lab.schema.sweep import (
    JoblibLauncherNode,
    LauncherNode,
    LocalLauncherNode,
    SlurmLauncherNode,
)
from leukemia_lab.sweeping.launching import Launcher, LocalLauncher

PACKAGES = {"slurm": "submitit", "ray": "ray"}  # by launcher, which is the name of the extra too


def make_launcher(node: LauncherNode, sweep: Path, *, all_at_once: bool = False) -> Launcher:
    """The launcher of `node` for the sweep in folder `sweep`.

    `all_at_once`: all jobs are known and wanted whatever comes of the others (a list, not a search, and not
    `sweep.on_error=stop`), so that a cluster may have them in its queue from the start.
    """
    match node:
        case LocalLauncherNode():
            return LocalLauncher()
        case JoblibLauncherNode():
            from leukemia_lab.sweeping.joblib_launcher import JoblibLauncher

            return JoblibLauncher(node.n_jobs)
        case SlurmLauncherNode():
            from leukemia_lab.sweeping.slurm_launcher import SlurmLauncher

            return SlurmLauncher(node, sweep.resolve(), all_at_once=all_at_once)
        case _:
            from leukemia_lab.sweeping.ray_launcher import RayLauncher

            return RayLauncher(node, all_at_once=all_at_once)


def launcher_faults(node: LauncherNode) -> list[str]:
    """What stands against `node` on this machine, found before any job starts."""
    package = PACKAGES.get(node.name)
    if package is not None and find_spec(package) is None:
        return [f"launcher={node.name} needs {package}: pip install 'leukemia-lab[{node.name}]'"]
    if isinstance(node, SlurmLauncherNode) and node.cluster == "slurm" and shutil.which("srun") is None:
        return [
            "launcher=slurm: no `srun` on this machine: start the sweep where SLURM's commands are (a login node), "
            "or try it out with launcher.cluster=local"
        ]
    return []
