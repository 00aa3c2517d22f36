"""Augmentation on the host, cell by cell, random by (seed, epoch, draw) alone, so that any worker gives the same.

A host policy is a callable `policy(image uint8 [H, W, 3], seed) -> uint8 [H, W, 3]` that depends on its two
arguments only, and that can be pickled.
"""

from __future__ import annotations

import inspect
import os
import random
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from leukemia_lab.errors import ConfigError
from leukemia_lab.wording import nearest

Image: TypeAlias = npt.NDArray[np.uint8]
HostPolicy: TypeAlias = Callable[[Image, int], Image]

KEY = "augment.on_host.transforms"
CHECKED_SEEDS = 32  # calls that `check_policy` makes: a transform of probability 0.1 shows in 97 % of checks


class Albumentations:
    """A sequence of albumentations' transforms: `transforms` holds nodes `{name: Affine, scale: [0.9, 1.1], p: 0.5}`.

    `name` is a class of albumentations, the other keys are its arguments; a name alone takes the defaults. A container
    (OneOf, SomeOf, Sequential) takes a list of such nodes as its own `transforms`. Matches `albumentations.Compose`.

    Raises:
        ConfigError: a name or an argument is unknown, or a value cannot be used.
    """

    def __init__(self, transforms: Sequence[str | dict[str, Any]]) -> None:
        self.transforms = transforms
        albumentations = _albumentations()
        self._compose = albumentations.Compose(_transforms(transforms, albumentations))
        self._lock = threading.Lock()  # the transforms hold the generators: one image at a time

    def __call__(self, image: Image, seed: int) -> Image:
        """The image uint8 [H, W, 3] augmented by what `seed`, 0 or more, stands for; `image` itself is not changed."""
        with self._lock:
            # One pair of generators for all transforms. `set_random_seed` and `Compose(seed=…)` give each
            # transform its own from the same seed: two flips would then happen together or not at all.
            self._compose.set_random_state(np.random.default_rng(seed), random.Random(seed))
            augmented: Image = self._compose(image=image)["image"]
        return augmented

    def __reduce__(self) -> tuple[type[Albumentations], tuple[Sequence[str | dict[str, Any]]]]:
        return type(self), (self.transforms,)


def _albumentations() -> Any:
    os.environ.setdefault(
        "NO_ALBUMENTATIONS_UPDATE", "1"
    )  # else its import asks the network for a newer version
    import albumentations  # takes two seconds: only where a policy needs it

    return albumentations


def _transforms(nodes: Sequence[str | Mapping[str, Any]], albumentations: Any) -> list[Any]:
    """The transforms that `nodes` describe; ConfigError lists the faults of all."""
    if not isinstance(nodes, Sequence) or isinstance(nodes, str):
        raise ConfigError(
            f"{KEY}: {nodes!r} is no list of transforms; write [{{name: HorizontalFlip, p: 0.5}}, …]"
        )
    transforms, faults = [], []
    for node in nodes:
        try:
            transforms.append(_transform({"name": node} if isinstance(node, str) else node, albumentations))
        except ConfigError as error:
            faults.append(str(error))
    if faults:
        raise ConfigError("; ".join(faults))
    return transforms


def _transform(node: Mapping[str, Any], albumentations: Any) -> Any:
    """The transform that `node` describes, with every fault an error: albumentations only warns of many."""
    if not isinstance(node, Mapping):
        raise ConfigError(
            f"{KEY}: {node!r} is no transform; write {{name: {node}}}, with its arguments beside the name"
        )
    known = {
        name: found
        for name, found in vars(albumentations).items()
        if inspect.isclass(found)
        and issubclass(found, albumentations.BasicTransform | albumentations.BaseCompose)
    }
    name = str(node.get("name", ""))
    if name not in known:
        hint = nearest(name, known)
        raise ConfigError(
            f"{KEY}: albumentations has no transform {name!r}; write {{name: Affine, …}}.{hint}"
        )
    arguments = {key: value for key, value in node.items() if key != "name"}
    allowed = [key for key in inspect.signature(known[name]).parameters if key != "strict"]
    for key in arguments:
        if key not in allowed:
            hint = nearest(key, allowed)
            raise ConfigError(f"{KEY}: {name} takes no {key!r}; allowed: {', '.join(allowed)}.{hint}")
    if "transforms" in arguments:
        arguments["transforms"] = _transforms(arguments["transforms"], albumentations)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return known[name](**arguments)
    except (TypeError, ValueError, UserWarning) as error:
        reason = " ".join(str(error).partition(" [type=")[0].split())  # pydantic's first fault, in one line
        raise ConfigError(f"{KEY}: {name} cannot be made with {arguments}: {reason}") from error


def check_policy(policy: HostPolicy, image_size: int) -> None:
    """Try `policy` on a drawn cell of `image_size` px a side, with several seeds.

    Raises:
        ConfigError: it fails, changes size or type, or gives two results for one seed.
    """
    image = np.random.default_rng(0).integers(1, 256, (image_size, image_size, 3), dtype=np.uint8)
    first = [augmented(policy, image, seed) for seed in range(CHECKED_SEEDS)]
    again = [augmented(policy, image, seed) for seed in reversed(range(CHECKED_SEEDS))]
    if not all(np.array_equal(left, right) for left, right in zip(first, reversed(again), strict=True)):
        raise ConfigError(
            f"augment.on_host: {type(policy).__name__} gives different pixels for the same seed: all its random "
            "numbers must come from a generator made from `seed`"
        )


def cell_seed(seed: int, epoch: int, draw: int) -> int:
    """A 64-bit seed that depends on (seed, epoch, draw) alone."""
    return int(np.random.SeedSequence([seed, epoch, draw]).generate_state(1, np.uint64)[0])


def augmented(policy: HostPolicy, image: Image, seed: int) -> Image:
    """`policy(image, seed)`.

    Raises:
        ConfigError: it fails, or its result is no uint8 image of the same shape.
    """
    try:
        result = policy(image, seed)
    except Exception as error:
        raise ConfigError(
            f"augment.on_host: {type(policy).__name__} fails on an image of {image.shape}: {error!r}"
        ) from error
    if not isinstance(result, np.ndarray):
        raise ConfigError(
            f"augment.on_host: {type(policy).__name__} returns a {type(result).__name__}, no image"
        )
    if result.shape != image.shape or result.dtype != np.uint8:
        raise ConfigError(
            f"augment.on_host: {type(policy).__name__} made {result.dtype} {result.shape} of uint8 {image.shape}: "
            "a policy keeps size and type; leave Normalize and ToFloat out (the input pipeline does that), and "
            "let a crop be followed by a Resize, or crop with keep_size=true"
        )
    return result


@dataclass(frozen=True)
class HostAugment:
    """A policy with the run's seed: what the training loader applies to each cell."""

    policy: HostPolicy
    seed: int

    def __call__(self, images: Image, draws: Sequence[int], epoch: int) -> Image:
        """uint8 [B, H, W, 3] of `draws`, numbers of cells or of their copies, to the same shape."""
        seeds = [cell_seed(self.seed, epoch, draw) for draw in draws]
        return np.stack(
            [augmented(self.policy, image, seed) for image, seed in zip(images, seeds, strict=True)]
        )


def one_thread(worker: int) -> None:
    """Keep a loader's worker to its core: OpenCV would start a thread for every core in each of them."""
    import cv2

    cv2.setNumThreads(0)  # in sequence; 1 would wait for ever for threads that a fork leaves behind
