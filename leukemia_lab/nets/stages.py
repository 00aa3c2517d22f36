"""The stages of a net from input to output: what freezing, thawing and learning rates by depth are told in."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import cast

from torch import nn

from leukemia_lab.errors import ConfigError
from leukemia_lab.wording import nearest

HEAD = "head"
Stages = dict[str, list[nn.Module]]


def stages(net: nn.Module) -> Stages:
    """The modules of each stage, in order from input to output; the last stage is `head`.

    Each parameter is in exactly one stage. A net says so itself by a method `stages()`; of another net the
    children that have parameters are the stages, in the order in which they were assigned, the last one
    renamed to `head`.

    Raises:
        ConfigError: what the net's own `stages()` returns leaves weights out, or has some twice, or ends with another
            name; or it has none, and its children do not make stages.
    """
    own = getattr(type(net), "stages", None)  # of the class: many nets have layers of that name
    return _checked(net, cast("Stages", own(net))) if callable(own) else _of_children(net)


def _checked(net: nn.Module, found: Stages) -> Stages:
    """`found`, whose stages must hold every parameter of `net` once: one left out would silently never learn."""
    owners: dict[int, set[str]] = {id(parameter): set() for parameter in net.parameters()}
    for stage, modules in found.items():
        for parameter in (parameter for module in modules for parameter in module.parameters()):
            owners.setdefault(id(parameter), set()).add(stage)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    astray = [names.get(key, "one of another net") for key, stages_ in owners.items() if len(stages_) != 1]
    if astray or list(found)[-1:] != [HEAD]:
        reason = (
            f"parameters in no stage or in several: {', '.join(astray[:3])}{', …' if len(astray) > 3 else ''}"
            if astray
            else f"the last stage is {list(found)[-1:]}, not {HEAD!r}"
        )
        raise ConfigError(
            f"{type(net).__name__}.stages(): {reason}. It must return {{name: [modules]}} from input to output, with "
            f"every parameter in one stage, the last one {HEAD!r}"
        )
    return found


def _of_children(net: nn.Module) -> Stages:
    children = {name: child for name, child in net.named_children() if any(True for _ in child.parameters())}
    bare = [name for name, _ in net.named_parameters(recurse=False)]
    *names, last = children if children else [HEAD]
    if bare or not children or HEAD in names:
        reason = (
            f"its parameters {', '.join(bare)} lie in no layer"
            if bare
            else f"its layer {HEAD} is not its last one ({last})"
            if children
            else "it has no layers with parameters"
        )
        raise ConfigError(
            f"{type(net).__name__} cannot be cut into stages: {reason}. Give it a method stages() that returns "
            f"{{name: [modules]}} from input to output, the last one {HEAD}, or set model.freeze=none and "
            "optim.stage_decay=1"
        )
    return {name: [children[name]] for name in names} | {HEAD: [children[last]]}


def frozen_stages(net: nn.Module, freeze: str, epoch: int, thaw_every: int | None) -> list[str]:
    """The stages that do not learn in `epoch` (from 0).

    `freeze` is `none`, `backbone` (all but the head) or the name of a stage (it and all before it). With
    `thaw_every` the last frozen stage is freed after every so many epochs, until none is left
    (Howard and Ruder 2018, section 3.3).

    Raises:
        ConfigError: no such stage, or nothing would be frozen, or nothing left to learn.
    """
    if freeze == "none":
        return []
    names = list(stages(net))
    if len(names) == 1:
        raise ConfigError(
            f"model.freeze={freeze}: {type(net).__name__} is a single stage, so nothing can be frozen before its "
            "head. Give it a method stages(), or set model.freeze=none"
        )
    backbone = names[:-1]
    if freeze != "backbone" and freeze not in backbone:
        allowed = ["none", "backbone", *backbone]
        raise ConfigError(
            f"model.freeze: {freeze!r} is no stage that can be frozen; allowed: {', '.join(allowed)}."
            f"{nearest(freeze, allowed)}"
        )
    frozen = backbone if freeze == "backbone" else backbone[: backbone.index(freeze) + 1]
    n_thawed = 0 if thaw_every is None else epoch // thaw_every
    return frozen[: max(0, len(frozen) - n_thawed)]


def set_frozen(net: nn.Module, names: Collection[str]) -> None:
    """Let the stages of these names not learn, and all others learn."""
    for name, modules in stages(net).items():
        for module in modules:
            module.requires_grad_(name not in names)


def eval_frozen(net: nn.Module, names: Collection[str]) -> None:
    """Put the stages of these names in evaluation mode: no dropout, no moving statistics."""
    if names:  # a net without stages can be trained, only not frozen
        own = stages(net)
        for module in (module for name in names for module in own[name]):
            module.eval()


def cut_after(layers: Iterable[nn.Module], last: type[nn.Module] | tuple[type[nn.Module], ...]) -> Stages:
    """`block1`, `block2`, …: the layers cut after each of a kind `last`; what is left over joins the last block."""
    blocks: list[list[nn.Module]] = [[]]
    for layer in layers:
        blocks[-1].append(layer)
        if isinstance(layer, last):
            blocks.append([])
    left_over = blocks.pop()
    blocks[-1].extend(left_over)
    return {f"block{number}": block for number, block in enumerate(blocks, start=1)}


def modules_by_stage(net: nn.Module, stage_of: Mapping[nn.Parameter, str], order: Iterable[str]) -> Stages:
    """The largest modules of `net` whose parameters are all of one stage, from the stage of each parameter.

    Parameters that lie beside modules of another stage (the class token of a transformer) come as a
    `nn.ParameterList` that holds the net's own.
    """
    found: Stages = {stage: [] for stage in order}
    for stage, module in _uniform(net, stage_of):
        if module not in found[stage]:  # some nets use one module in several places
            found[stage].append(module)
    return found


def _uniform(module: nn.Module, stage_of: Mapping[nn.Parameter, str]) -> Iterator[tuple[str, nn.Module]]:
    owners = {stage_of[parameter] for parameter in module.parameters()}
    if len(owners) == 1:
        yield owners.pop(), module
    elif owners:
        for parameter in module.parameters(recurse=False):
            yield stage_of[parameter], nn.ParameterList([parameter])
        for child in module.children():
            yield from _uniform(child, stage_of)
