"""What makes a run the run it is: the settings that can change its result, its data, its split, its pixels."""

from __future__ import annotations

from typing import Any

from leukemia_lab.data.images import RESIZE_METHOD
from leukemia_lab.hashing import content_hash
from leukemia_lab.schema import TrainSettings

PIPELINE_VERSION = 1  # raise it when the input pipeline or the training loop gives other numbers
WITHOUT_EFFECT = {"": ("force",), "data": ("root", "bad_files"), "trainer": ("num_workers", "resident")}


def identity_settings(settings: TrainSettings) -> dict[str, Any]:
    """The settings that can change a result, as plain values: what is of no effect is left out."""
    values = settings.model_dump(mode="json")
    for node, keys in WITHOUT_EFFECT.items():
        for key in keys:
            (values[node] if node else values).pop(key, None)
    model, pipeline = values["model"], values["pipeline"]
    del model["lr"]  # optim.lr has taken it, or another value
    model_size = model.pop("image_size")
    if pipeline["image_size"] == "auto":
        pipeline["image_size"] = model_size
    pipeline["log"] = _log_in_effect(pipeline["log"])
    return values


def run_identity(settings: TrainSettings, data_fingerprint: str, split_hash: str) -> str:
    """The hash that names a run."""
    return content_hash(
        {
            "settings": identity_settings(settings),
            "data_fingerprint": data_fingerprint,
            "split_hash": split_hash,
            "resize": RESIZE_METHOD,
            "pipeline": PIPELINE_VERSION,
        }
    )


def sweep_identity(jobs: list[TrainSettings]) -> str:
    """The hash that names a sweep: its jobs, however they were written down, and where its data are."""
    return content_hash(
        {"jobs": sorted(content_hash(identity_settings(job) | {"root": job.data.root}) for job in jobs)}
    )


def _log_in_effect(log: dict[str, Any]) -> dict[str, Any]:
    if log["mode"] == "none":
        return {"mode": "none"}
    used = {"strength": log["mode"] == "sharpen", "laplacian_size": log["stencil"] == "kornia"}
    return {key: value for key, value in log.items() if used.get(key, True)}
