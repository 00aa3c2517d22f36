"""What makes a run the run it is: the settings that can change its result, its data, its split, its pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from leukemia_lab.data.images import RESIZE_METHOD
from leukemia_lab.hashing import content_hash
from leukemia_lab.schema import ClassicalModel, TrainSettings

PIPELINE_VERSION = 1  # raise it when the input pipeline or the training loop gives other numbers
WITHOUT_EFFECT = {
    "": ("force",),
    # what these change shows in the data's fingerprint or in the split's hash
    "data": ("root", "trees", "metadata", "manifest", "twins_file", "bad_files"),
    "protocol": ("file",),
    "trainer": ("num_workers", "resident"),
}
OF_NETS_ALONE = ("optim", "trainer", "augment", "balance")  # nodes that no classical baseline uses


def identity_settings(settings: TrainSettings) -> dict[str, Any]:
    """The settings that can change a result, as plain values: what is of no effect is left out."""
    values = settings.model_dump(mode="json")
    for node, keys in WITHOUT_EFFECT.items():
        for key in keys:
            (values[node] if node else values).pop(key, None)
    if values["trainer"]["devices"] != "auto":
        values["trainer"]["devices"] = 1  # any number of them gives the same result
    if settings.permute_labels is None:
        del values["permute_labels"]  # runs are those they were before there was such a key
    if values["protocol"].get("n_folds") is not None:
        values["protocol"].pop("test_share", None)  # its folds say what is tested
    _take_models_own(values)
    values["pipeline"]["log"] = _log_in_effect(values["pipeline"]["log"])
    values["model"] = _model_in_effect(values["model"], settings)
    if isinstance(settings.model, ClassicalModel):
        _leave_out_training(values, settings)
    return values


def run_identity(
    settings: TrainSettings, data_fingerprint: str, split_hash: str, weights_hash: str | None
) -> str:
    """The hash that names a run; `weights_hash` is that of the file that `model.weights_path` names."""
    return content_hash(
        {
            "settings": identity_settings(settings),
            "data_fingerprint": data_fingerprint,
            "split_hash": split_hash,
            "resize": RESIZE_METHOD,
            "pipeline": PIPELINE_VERSION,
            **({} if weights_hash is None else {"weights": weights_hash}),
        }
    )


def job_settings(settings: TrainSettings) -> dict[str, Any]:
    """All that decides what a run computes, before its data are read: with where these are."""
    return (
        identity_settings(settings)
        | {"data": settings.data.model_dump(mode="json"), "weights_path": settings.model.weights_path}
        | {"protocol": settings.protocol.model_dump(mode="json")}
    )


def job_identity(settings: TrainSettings) -> str:
    """The hash that names a job, however its settings were written."""
    return content_hash(job_settings(settings))


def sweep_identity(jobs: Sequence[TrainSettings]) -> str:
    """The hash that names a sweep by its jobs, in any order."""
    return content_hash({"jobs": sorted(map(job_identity, jobs))})


def _take_models_own(values: dict[str, Any]) -> None:
    """Put the model's own size, filter and learning rate in the place of `auto`; in the model they count no more."""
    model, pipeline, optim = values["model"], values["pipeline"], values["optim"]
    own = [
        (pipeline, "image_size", model.pop("image_size")),
        (pipeline["log"], "mode", model.pop("log_mode")),
    ]
    own.append((optim, "lr", model.pop("lr", "auto")))
    for node, key, value in own:
        if node[key] == "auto":
            node[key] = value


def _model_in_effect(model: dict[str, Any], settings: TrainSettings) -> dict[str, Any]:
    """The model without the keys that it does not use; a file of weights counts by its content, not by its path."""
    del model["weights_path"], model["pretrained"]
    owner = model["features"] if isinstance(settings.model, ClassicalModel) else model
    from_library = settings.model.loads_weights and settings.model.weights_path is None
    if not from_library and settings.pipeline.normalise != "pretrained":
        owner.pop("weights", None)  # with the weights goes what says where they come from
    for key in ("image_size", "log_mode"):
        model.get("features", {}).pop(key, None)  # the pipeline's count
    if model.get("freeze") == "none":
        del model["thaw_every"]
    if isinstance(settings.model, ClassicalModel):
        owner.get("net", {}).pop("dropout", None)  # features are taken in evaluation mode
        if not settings.model.classifier.searches:
            del model["classifier"]["cv_folds"]
    return model


def _leave_out_training(values: dict[str, Any], settings: TrainSettings) -> None:
    """Of the settings that train a net, a classical baseline uses the precision in which its features are computed."""
    kind = values["model"]["features"]["kind"]
    trainer = values["trainer"]
    for node in OF_NETS_ALONE:
        del values[node]
    if kind == "net":
        values["trainer"] = {key: trainer[key] for key in ("accelerator", "precision")}
    if kind in ("morphology", "border"):  # measured on the raw pixels
        values["pipeline"] = {"image_size": values["pipeline"]["image_size"]}
    if kind == "measures":  # of the files
        del values["pipeline"]


def _log_in_effect(log: dict[str, Any]) -> dict[str, Any]:
    if log["mode"] == "none":
        return {"mode": "none"}
    used = {"strength": log["mode"] == "sharpen", "laplacian_size": log["stencil"] == "kornia"}
    return {key: value for key, value in log.items() if used.get(key, True)}
