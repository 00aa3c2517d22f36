"""What a run's files say of data, model and training, a sentence a subject; None where they say nothing of it."""

from __future__ import annotations

from leukemia_lab.checklists import stamps
from leukemia_lab.checklists.run_files import Run, at, listed, stamped

TRAINING = (
    "trainer.batch_size",
    "optim.lr",
    "optim.weight_decay",
    "optim.schedule",
    "optim.warmup_epochs",
    "optim.label_smoothing",
    "optim.ema_decay",
    "optim.gradient_clip_norm",
    "trainer.precision",
    "seed",
)


def task(run: Run) -> str | None:
    """The classes."""
    names, positive = run.record.get("class_names"), run.record.get("positive")
    if not names:
        return None
    return f"Images of single cells, each of one class of {', '.join(names)}" + (
        "" if positive is None else f"; the positive class is {positive}"
    )


def technique(run: Run) -> str | None:
    """The kind of model."""
    if run.is_net:
        name = at(run.config, "model.name")
        return "Neural network" if name is None else f"Neural network: {name}"
    estimator = at(run.config, "model.classifier.estimator._target_")
    return None if estimator is None else f"Classical classifier on features: {estimator}"


def data(run: Run) -> str | None:
    """The data set and its fingerprint."""
    name, fingerprint = at(run.config, "data.name"), run.record.get("data_fingerprint")
    if fingerprint is None:
        return stamped(None, run, stamps.OF_DATA)
    return stamped(listed({"data set": name, "fingerprint": fingerprint}), run, stamps.OF_DATA)


def unusable(run: Run) -> str | None:
    """What was done with files that cannot be used, and with copies."""
    said = {
        "error": "An unusable file stops a run before training (data.bad_files=error)",
        "skip": "Unusable files are left out and listed when a run begins (data.bad_files=skip); the record does not "
        "count them",
    }.get(str(at(run.config, "data.bad_files")))
    dropped = at(run.config, "protocol.twins") == "drop"
    copies = "Cells of names that share cells with a name that stays were left out (protocol.twins=drop)"
    found = [*([] if said is None else [said]), *([copies] if dropped else [])]
    return ". ".join(found) if found else None


def inputs(run: Run) -> str | None:
    """What a model is shown of a cell."""
    size = at(run.config, "pipeline.image_size")
    if size is None:
        return None
    kind = at(run.config, "model.features.kind")
    seen = "" if kind is None else f", as features of kind {kind}"
    return f"The image of one cell at {size} × {size} px{seen}; no clinical variable"


def preprocessing(run: Run) -> str | None:
    """Size, filter, normalisation."""
    size, log = at(run.config, "pipeline.image_size"), at(run.config, "pipeline.log")
    mode, by = at(log, "mode"), at(run.config, "pipeline.normalise")
    if None in (size, mode, by):
        return None
    filtered = "no filter" if mode == "none" else f"Laplacian of Gaussian ({listed(log)})"
    source = {"train": "mean and SD of the training part alone", "none": "not at all"}.get(
        str(by), f"by {by}"
    )
    return f"Resized to {size} × {size} px; {filtered}; channels normalised: {source}"


def augmentation(run: Run) -> str | None:
    """The policy of the training part."""
    if run.is_classical:
        return "No augmentation: a classical baseline"
    name = at(run.config, "augment.name")
    return None if name is None else f"Augmentation of the training part alone: augment={name}"


def architecture(run: Run) -> str | None:
    """The net, or features and classifier, with their arguments."""
    if run.is_net:
        net = dict(at(run.config, "model.net"))
        target = net.pop("_target_", None)
        return None if target is None else f"{target} ({listed(net)})"
    if not run.is_classical:
        return None
    classifier = at(run.config, "model.classifier")
    about = {key: classifier.get(key) for key in ("scale", "pca", "cv_folds")}
    target = at(classifier, "estimator._target_")
    features = run.record.get("features", at(run.config, "model.features.kind"))
    return None if None in (target, features) else f"{target} on {features} ({listed(about)})"


def initialisation(run: Run) -> str | None:
    """Where weights begin."""
    source, seed = run.record.get("initial_weights"), at(run.config, "seed")
    if source is not None:
        return f"Initial weights: {source}"
    if run.is_net and seed is not None:
        return f"Random initial weights from seed {seed}"
    if run.is_classical and run.record.get("features") is not None:
        return f"No weights are trained; features: {run.record['features']}"
    return None


def training(run: Run) -> str | None:
    """Optimiser and its settings, or what a search chose."""
    if run.is_classical:
        chosen, seed = run.record.get("chosen"), at(run.config, "seed")
        if chosen is None or seed is None:
            return None
        by_search = f"settings chosen: {listed(chosen)}" if chosen else "no settings were searched"
        return f"Fitted on the training part; {by_search}; seed {seed}"
    optimiser = at(run.config, "optim.optimizer._target_")
    if optimiser is None:
        return None
    settings = listed({key.rpartition(".")[2]: at(run.config, key) for key in TRAINING})
    epochs, at_most = run.record.get("epochs"), at(run.config, "trainer.max_epochs")
    lasted = "" if None in (epochs, at_most) else f"; {epochs} of at most {at_most} epochs"
    return f"{optimiser}: {settings}{lasted}"


def selection(run: Run) -> str | None:
    """How weights or settings were chosen within the run."""
    if run.record.get("search_folds") is not None:
        return f"Cross-validation by group within the training part, {run.record['search_folds']} folds"
    monitor, epoch = at(run.config, "trainer.monitor"), run.record.get("best_epoch")
    if run.is_net and monitor is not None and epoch is not None:
        return f"Weights of the epoch with the best {monitor} (epoch {epoch}, from 0); the test part takes no part"
    return None


def imbalance(run: Run) -> str | None:
    """What was done for unequal classes."""
    if run.is_classical:
        return "For class imbalance: nothing but the classifier's own arguments"
    balance = at(run.config, "balance")
    if balance is None:
        return None
    used = [key for key in ("oversample", "class_weight") if balance.get(key)]
    if balance.get("focal_gamma") is not None:
        used.append(f"focal loss with gamma {balance['focal_gamma']}")
    return f"For class imbalance: {', '.join(used) if used else 'nothing'}"


def split(run: Run) -> str | None:
    """The protocol and the hash of what it drew."""
    protocol, hashes = run.record.get("protocol"), [run.record.get("split_hash")]
    hashes = [fold.get("split_hash") for fold in run.record["folds"]] if "folds" in run.record else hashes
    if protocol is None or None in hashes:
        return stamped(None, run, stamps.OF_SPLIT)
    text = f"protocol: {listed(protocol)}; split hash {', '.join(map(str, hashes))}"
    return stamped(text, run, (*stamps.OF_SPLIT, *stamps.OF_LABELS))


def disjoint(run: Run) -> str | None:
    """By what the parts are disjoint."""
    worse = stamps.chosen(run.stamps, stamps.OF_SPLIT)
    if worse:
        level = "subject names" if worse == ["TWINS IGNORED"] else "cells alone"
        return stamped(f"The parts are disjoint by {level}", run, stamps.OF_SPLIT)
    if run.record.get("protocol") is None:
        return None
    return "The parts are disjoint by group: a subject, or several names of subjects that share cells"


def ensemble(run: Run) -> str | None:
    """Whether several models are joined."""
    joined = run.record.get("ensemble")
    if joined:
        return f"Mean of the probabilities of {len(joined)} runs: {', '.join(map(str, joined))}"
    if not (run.is_net or run.is_classical):
        return None
    return stamped("A run is one model: no ensemble of runs", run, stamps.OF_PREDICTION)


def external(run: Run) -> str | None:
    """Whether other sources were tested."""
    if at(run.record, "protocol.name") != "leave_one_source_out":
        return None
    return "Each source is tested by a model trained on the others (protocol=leave_one_source_out)"


def software(run: Run) -> str | None:
    """Versions."""
    versions = run.record.get("versions")
    return None if not versions else listed(versions)


def hardware(run: Run) -> str | None:
    """Device and processor."""
    found = run.record.get("hardware")
    return None if not found else listed(found)


def code(run: Run) -> str | None:
    """The commit."""
    commit, version = run.record.get("commit"), at(run.record, "versions.leukemia_lab")
    if commit is None:
        return None if version is None else f"leukemia_lab {version}"
    return f"leukemia_lab, commit {commit}"


def reproduction(run: Run) -> str | None:
    """Where the whole configuration stands."""
    found = run.record.get("config_hash")
    return None if found is None else f"The run's whole configuration is its config.yaml, hash {found}"
