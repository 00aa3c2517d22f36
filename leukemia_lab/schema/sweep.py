"""The nodes of conf/train.yaml that say how a sweep runs; none of them can change what a run computes."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, Field, model_validator

from leukemia_lab.schema.fields import Count, Metric, Node, NonNegative, Positive, Seed, Target

Direction = Literal["maximize", "minimize"]
MINIMIZED = ("ece", "brier")
# What a search can go by, and which way is better: validation metrics, and what a run's record says of its cost.
OBJECTIVES: dict[str, Direction] = {
    **{f"val/{name}": "minimize" if name in MINIMIZED else "maximize" for name in get_args(Metric)},
    "n_weights": "minimize",
    "seconds": "minimize",
    "images_per_second": "maximize",
}


class Sweep(Node):
    """`sweep` of conf/train.yaml."""

    on_error: Literal["continue", "stop"]
    retry_failed: bool


class LocalLauncherNode(Node):
    """conf/launcher/local.yaml: this process, one job after the other."""

    name: Literal["local"]


class JoblibLauncherNode(Node):
    """conf/launcher/joblib.yaml: processes of this machine."""

    name: Literal["joblib"]
    n_jobs: Count


class SlurmLauncherNode(Node):
    """conf/launcher/slurm.yaml: jobs of a SLURM cluster, by submitit; `cluster: local` runs them here."""

    name: Literal["slurm"]
    cluster: Literal["slurm", "local"]
    max_running: Count
    timeout_minutes: Count
    max_timeouts: Annotated[int, Field(ge=0)]
    cpus_per_job: Count
    gpus_per_job: Annotated[int, Field(ge=0)]
    memory_gb: Positive | None
    partition: str | None
    setup: list[str]
    parameters: dict[str, Any]


class RayLauncherNode(Node):
    """conf/launcher/ray.yaml: a Ray cluster, or processes of this machine as Ray shares them out."""

    name: Literal["ray"]
    address: str | None
    cpus_per_job: Positive
    gpus_per_job: NonNegative
    max_retries: Annotated[int, Field(ge=0)]


LauncherNode = Annotated[
    LocalLauncherNode | JoblibLauncherNode | SlurmLauncherNode | RayLauncherNode, Field(discriminator="name")
]


class NoSearch(Node):
    """conf/search/none.yaml: a sweep over lists of values."""

    name: Literal["none"]


def _objectives(names: list[str]) -> list[str]:
    if not names or len(set(names)) < len(names):
        raise ValueError(f"{names}: name one objective or more, each once: [val/auroc, n_weights]")
    for name in names:
        if name not in OBJECTIVES:
            raise ValueError(f"{name!r} is no objective; allowed: {', '.join(OBJECTIVES)}")
    return names


class Search(Node):
    """conf/search/*.yaml: an Optuna study; `sampler` and `pruner` are `_target_` nodes."""

    name: Literal["tpe", "cmaes", "random", "grid", "nsga2"]
    n_trials: Count | None
    seed: Seed
    storage: str | None
    study: str | None
    objectives: Annotated[list[str], AfterValidator(_objectives)]
    sampler: Target
    pruner: Target | None

    @model_validator(mode="after")
    def _check(self) -> Search:
        if self.n_trials is None and self.name != "grid":
            raise ValueError("search.n_trials=null: only search=grid has an end of its own; give a number")
        if self.pruner is not None and not (
            len(self.objectives) == 1 and self.objectives[0].startswith("val/")
        ):
            raise ValueError(
                f"search.objectives={self.objectives}: pruning needs one objective, and one that is known after each "
                "epoch (val/...); set search/pruner=none"
            )
        return self


SearchNode = Annotated[NoSearch | Search, Field(discriminator="name")]
