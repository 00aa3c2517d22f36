"""Runs spread over a simulated cluster; those of a node that is lost go on elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sweep_jobs import jobs_of

from leukemia_lab.runs import record
from leukemia_lab.schema.sweep import RayLauncherNode
from leukemia_lab.sweeping.engine import JobList, run_jobs
from leukemia_lab.sweeping.job import Job, JobEnd
from leukemia_lab.sweeping.job_files import log_path
from leukemia_lab.sweeping.ray_launcher import RayLauncher

ray = pytest.importorskip("ray", reason="ray is not installed")

N_JOBS = 12


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Three nodes of one core; the head has none, as the driver is with it and it cannot be lost."""
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # else a token is written to the home folder
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    from ray.cluster_utils import Cluster

    simulated = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(3):
        simulated.add_node(num_cpus=1)
    yield simulated
    ray.shutdown()
    simulated.shutdown()


def nodes_of(job: Job) -> list[str]:
    """The nodes that a job was begun on, in order."""
    if not log_path(job).exists():
        return []
    return re.findall(r", Ray node (\w+)", log_path(job).read_text(encoding="utf-8"))


@pytest.mark.slow
def test_a_sweep_survives_the_loss_of_a_node(cluster: Any, tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, *(f"seed={seed}" for seed in range(N_JOBS)))
    node = RayLauncherNode(name="ray", address=cluster.address, cpus_per_job=1, gpus_per_job=0, max_retries=3)
    ends: list[JobEnd] = []
    lost: dict[str, Job] = {}

    def noted(end: JobEnd) -> None:
        ends.append(end)
        ended = {end.job.key for end in ends}
        at_work = {nodes_of(job)[-1]: job for job in jobs if job.key not in ended and nodes_of(job)}
        if len(ends) >= N_JOBS // 2 and not lost and at_work:
            [victim] = [node for node in cluster.worker_nodes if node.node_id == next(iter(at_work))]
            lost[victim.node_id] = at_work[victim.node_id]
            cluster.remove_node(victim, allow_graceful=False)

    assert run_jobs(JobList(jobs), RayLauncher(node, all_at_once=True), stop_on_error=False, noted=noted)
    assert [end.status for end in ends] == ["finished"] * N_JOBS
    assert len({end.run for end in ends}) == len(list(tmp_path.glob(f"*/{record.METRICS}"))) == N_JOBS
    begun = [node for job in jobs for node in nodes_of(job)]
    assert len(set(begun)) == 3
    [(gone, job)] = lost.items()
    assert nodes_of(job)[0] == gone
    assert nodes_of(job)[-1] != gone  # it went on elsewhere
