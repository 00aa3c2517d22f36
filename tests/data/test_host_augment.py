from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from leukemia_lab.config import conf_dir
from leukemia_lab.data.host_augment import (
    Albumentations,
    HostAugment,
    HostPolicy,
    Image,
    cell_seed,
    check_policy,
)
from leukemia_lab.errors import ConfigError
from leukemia_lab.targets import build

FLIPS = [{"name": "HorizontalFlip", "p": 0.5}, {"name": "VerticalFlip", "p": 0.5}]


def an_image(side: int = 48) -> Image:
    return np.random.default_rng(0).integers(1, 256, (side, side, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def positional() -> HostPolicy:
    path = Path(conf_dir() / "augment" / "positional.yaml")
    policy = build(yaml.safe_load(path.read_text(encoding="utf-8"))["on_host"])
    assert isinstance(policy, Albumentations)
    return policy


def test_positional_is_the_papers_list(positional: HostPolicy) -> None:
    assert isinstance(positional, Albumentations)
    assert [node["name"] for node in positional.transforms] == [
        "HorizontalFlip", "VerticalFlip", "Rotate", "CropAndPad", "Affine", "Affine",
    ]  # fmt: skip
    for side in (31, 128):
        check_policy(positional, side)


def test_pixels_depend_on_image_and_seed_alone(positional: HostPolicy) -> None:
    image = an_image()
    before = image.copy()
    np.random.seed(1)  # noqa: NPY002
    first = [positional(image, seed) for seed in range(40)]
    np.random.seed(2)  # noqa: NPY002
    again = [positional(image, seed) for seed in reversed(range(40))]
    assert all(np.array_equal(left, right) for left, right in zip(first, reversed(again), strict=True))
    assert len({result.tobytes() for result in first}) > 35
    assert all(result.shape == image.shape and result.dtype == np.uint8 for result in first)
    assert np.array_equal(image, before)


def test_a_pickled_policy_gives_the_same(positional: HostPolicy) -> None:
    image, again = an_image(), pickle.loads(pickle.dumps(positional))
    assert all(np.array_equal(positional(image, seed), again(image, seed)) for seed in range(20))


def test_threads_do_not_disturb_each_other(positional: HostPolicy) -> None:
    image = an_image()
    expected = [positional(image, seed) for seed in range(200)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda seed: positional(image, seed), range(200)))
    assert all(np.array_equal(left, right) for left, right in zip(expected, results, strict=True))


def test_transforms_are_drawn_independently_of_each_other() -> None:
    """Albumentations' own seeding gives every transform the same numbers: both flips or none."""
    image, flips = an_image(4), Albumentations(FLIPS)
    results = Counter(flips(image, seed).tobytes() for seed in range(400))
    expected = {flipped.tobytes() for flipped in (image, image[:, ::-1], image[::-1], image[::-1, ::-1])}
    assert results.keys() == expected
    assert all(60 < count < 140 for count in results.values())


def test_containers_hold_transforms_of_their_own() -> None:
    image = an_image(4)
    one_of = Albumentations(
        [{"name": "OneOf", "p": 1.0, "transforms": [node | {"p": 1.0} for node in FLIPS]}]
    )
    results = {one_of(image, seed).tobytes() for seed in range(20)}
    assert results == {image[:, ::-1].tobytes(), image[::-1].tobytes()}


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([{"name": "Affin", "p": 1.0}], "no transform 'Affin'.*Did you mean Affine?"),
        ([{"p": 1.0}], "no transform ''; write {name: Affine"),
        ([{"name": "Affine", "scal": 1.0}], "Affine takes no 'scal'.*Did you mean scale?"),
        ([{"name": "RandomRotate90", "limit": 3}], "RandomRotate90 takes no 'limit'; allowed: p"),
        ([{"name": "Rotate", "p": 2.0}], "Rotate cannot be made with .*less than or equal to 1"),
        ([{"name": "Affine", "scale": "large"}], "Affine cannot be made with .*valid tuple"),
        ([{"name": "OneOf"}], "OneOf cannot be made with .*transforms"),
        ([{"name": "OneOf", "transforms": [{"name": "HFlip"}]}], "no transform 'HFlip'"),
        ([{"name": "Affin"}, FLIPS[0], {"name": "Rotate", "limits": 3}], "'Affin'.*'limits'.*limit?"),
    ],
)
def test_faults_of_a_policy_show_when_it_is_built(nodes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=f"(?s)augment.on_host.transforms: .*{message}"):
        build({"_target_": "leukemia_lab.data.host_augment.Albumentations", "transforms": nodes})


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([{"name": "RandomScale", "p": 0.3}], "keeps size and type.*keep_size=true"),
        ([{"name": "CenterCrop", "height": 20, "width": 20}], r"uint8 \(20, 20, 3\) of uint8 \(48, 48, 3\)"),
        ([{"name": "Normalize"}], "float32.*leave Normalize"),
        ([{"name": "RandomCrop", "height": 90, "width": 90}], "fails on an image of .*Crop size"),
    ],
)
def test_a_policy_must_keep_size_and_type(nodes: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_policy(Albumentations(nodes), 48)


def unseeded(image: Image, seed: int) -> Image:
    return np.roll(image, np.random.default_rng().integers(1000), axis=0)


def test_a_policy_of_the_user_must_be_seeded() -> None:
    with pytest.raises(ConfigError, match="different pixels for the same seed"):
        check_policy(unseeded, 16)


def test_every_cell_is_augmented_by_seed_epoch_and_draw(positional: HostPolicy) -> None:
    images = np.stack([an_image(), an_image()])
    augment = HostAugment(positional, seed=3)
    result = augment(images, [10, 11], epoch=2)
    assert np.array_equal(result[0], positional(images[0], cell_seed(3, 2, 10)))
    assert np.array_equal(result[1], positional(images[1], cell_seed(3, 2, 11)))


def test_seeds_do_not_run_into_each_other() -> None:
    seeds = {
        cell_seed(*key) for key in [(1, 11, 0), (11, 1, 0), (1, 1, 10), (1, 1, 1), (0, 0, 0), (0, 0, 2**40)]
    }
    assert len(seeds) == 6
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_albumentations_is_imported_only_for_a_policy_and_does_not_ask_the_network() -> None:
    code = (
        "import sys, os, leukemia_lab.data.host_augment as host;"
        "assert 'albumentations' not in sys.modules;"
        "host.Albumentations([{'name': 'HorizontalFlip', 'p': 0.5}]);"
        "assert 'albumentations' in sys.modules;"
        "assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'"
    )
    environment = {name: value for name, value in os.environ.items() if name != "NO_ALBUMENTATIONS_UPDATE"}
    subprocess.run(
        [sys.executable, "-W", "error::UserWarning:albumentations", "-c", code], env=environment, check=True
    )
