"""How the weights of a file go into a net: which fit, which are adapted, and which are left as initialised."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

from torch import Tensor, nn

RGB = 3
N_NAMED = 3  # keys of each kind that a fault names


@dataclass(frozen=True)
class WeightLayout:
    """What is special in a net's weights: the names of the modules that take the image, and of the output layers.

    `unused` are the beginnings of keys that published files have beside the net's own; `convert` turns the
    keys (and shapes) of a published file into the net's.
    """

    first_convolutions: tuple[str, ...]
    heads: tuple[str, ...]
    unused: tuple[str, ...] = ()
    convert: Callable[[Mapping[str, Tensor]], dict[str, Tensor]] = dict


@runtime_checkable
class KnowsItsLayout(Protocol):
    """A net whose layout does not follow from the order of its modules."""

    def weight_layout(self) -> WeightLayout:
        """The names of its first convolutions and heads."""
        ...


@dataclass(frozen=True)
class Fit:
    """The weights that a net takes over, what the user should know of the others, and why it cannot be done."""

    weights: dict[str, Tensor]
    notes: list[str]
    faults: list[str]


def weight_layout(net: nn.Module) -> WeightLayout:
    """The net's own `weight_layout()`, else its first convolution and its last module that has parameters."""
    if isinstance(net, KnowsItsLayout):
        return net.weight_layout()
    convolutions = [name for name, module in net.named_modules() if isinstance(module, nn.Conv2d)]
    with_parameters = [name for name, module in net.named_modules() if list(module.parameters(recurse=False))]
    return WeightLayout(tuple(convolutions[:1]), tuple(with_parameters[-1:]))


def fit(net: nn.Module, state: Mapping[str, Tensor]) -> Fit:
    """Compare `state` with the net's weights by name and shape; works on the meta device too."""
    layout = weight_layout(net)
    own = cast("dict[str, Tensor]", net.state_dict())
    given = layout.convert(state)
    unused = [key for key in given if key.startswith(layout.unused) and key not in own]
    notes = [f"not used: {', '.join(_named(unused))}"] if unused else []
    for key in unused:
        del given[key]
    notes += _adapt_channels(given, own, layout.first_convolutions)
    kept, why = _head_to_keep(given, own, layout.heads)
    for key in kept:
        given.pop(key, None)
    return Fit(given, notes + why, _faults(given, own, kept))


def _adapt_channels(
    given: dict[str, Tensor], own: Mapping[str, Tensor], convolutions: Collection[str]
) -> list[str]:
    notes = []
    for key in (f"{name}.weight" for name in convolutions):
        if key in given and key in own and given[key].ndim == own[key].ndim == 4:
            theirs, ours = given[key].shape[1], own[key].shape[1]
            if theirs == RGB != ours:
                given[key] = _spread(given[key], ours)
                notes.append(f"{key}: the weights of {RGB} channels spread over {ours}")
    return notes


def _spread(weight: Tensor, channels: int) -> Tensor:
    """RGB weights [O, 3, k, k] to [O, channels, k, k]: repeated and scaled by 3/channels, for one channel summed.

    As `timm.models.adapt_input_conv`.
    """
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    repeated = weight.repeat(1, -(-channels // RGB), 1, 1)[:, :channels]
    return repeated * (RGB / channels)


def _head_to_keep(
    given: Mapping[str, Tensor], own: Mapping[str, Tensor], heads: Collection[str]
) -> tuple[list[str], list[str]]:
    """The keys of the head where it stays as initialised, and why."""
    keys = [key for key in own if key.startswith(tuple(f"{name}." for name in heads))]
    present = [key for key in keys if key in given]
    if keys and not present:
        return keys, ["the head stays as initialised: the weights have none"]
    other_classes = [key for key in present if given[key].shape != own[key].shape]
    if other_classes and all(given[key].shape[1:] == own[key].shape[1:] for key in present):
        theirs, ours = given[other_classes[0]].shape[0], own[other_classes[0]].shape[0]
        return keys, [
            f"the head stays as initialised: the weights are for {theirs} classes, the net for {ours}"
        ]
    return [], []


def _faults(given: Mapping[str, Tensor], own: Mapping[str, Tensor], kept: Collection[str]) -> list[str]:
    # Files from before PyTorch 0.4.1 lack the counters of batch normalisation.
    missing = {
        key: f"{key} {list(weight.shape)}"
        for key, weight in own.items()
        if key not in given and key not in kept and not key.endswith(".num_batches_tracked")
    }
    unexpected = {key: f"{key} {list(weight.shape)}" for key, weight in given.items() if key not in own}
    reshaped = {
        key: f"{key} {list(given[key].shape)}, needed {list(own[key].shape)}"
        for key in own
        if key in given and given[key].shape != own[key].shape
    }
    kinds = {"missing": missing, "unexpected": unexpected, "of another shape": reshaped}
    return [
        f"{len(keys)} {kind}: {'; '.join(_named(list(keys.values())))}"
        for kind, keys in kinds.items()
        if keys
    ]


def _named(keys: list[str]) -> list[str]:
    return keys if len(keys) <= N_NAMED else [*keys[:N_NAMED], "…"]
