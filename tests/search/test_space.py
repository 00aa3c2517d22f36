from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from optuna.distributions import BaseDistribution as Distribution
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

from leukemia_lab.errors import ConfigError
from leukemia_lab.search.space import SearchSpace


def distribution(word: str) -> Distribution:
    return SearchSpace.of([f"a={word}"]).distributions["a"]


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("interval(0,1)", FloatDistribution(0.0, 1.0)),
        ("interval(1e-5,1e-2)", FloatDistribution(1e-5, 1e-2)),
        ("tag(log,interval(1e-5,1e-2))", FloatDistribution(1e-5, 1e-2, log=True)),
        ("int(interval(-5,5))", IntDistribution(-5, 5)),
        ("tag(log,int(interval(1,100)))", IntDistribution(1, 100, log=True)),
        ("int(tag(log,interval(1,100)))", IntDistribution(1, 100, log=True)),
        ("tag(int,log,interval(1,100))", IntDistribution(1, 100, log=True)),
        ("range(5)", IntDistribution(0, 4)),
        ("range(1,4)", IntDistribution(1, 3)),
        ("range(32,129,32)", IntDistribution(32, 128, step=32)),
        ("range(5,1,-2)", IntDistribution(3, 5, step=2)),
        ("tag(log,range(1,65))", IntDistribution(1, 64, log=True)),
        ("range(0,0.5,0.1)", FloatDistribution(0.0, 0.4, step=0.1)),
        ("float(range(1,4))", FloatDistribution(1.0, 3.0, step=1.0)),
        ("choice(b,c)", CategoricalDistribution(["b", "c"])),
        ("b,c", CategoricalDistribution(["b", "c"])),
        ("shuffle(range(3))", CategoricalDistribution(["0", "1", "2"])),
        ("shuffle(c,b,a)", CategoricalDistribution(["c", "b", "a"])),  # in one order in every command
        ("1,true,null,1.0", CategoricalDistribution(["1", "true", "null", "1.0"])),
    ],
)
def test_what_an_override_becomes(word: str, expected: Distribution) -> None:
    assert distribution(word) == expected


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("choice(simple_cnn,vgg13)", ["simple_cnn", "vgg13"]),
        ("1,2.5,true,null,1e-5", [1, 2.5, True, None, 1e-5]),
        ("""'a b','it\\'s',"say \\"x\\"",'a=b,c'""", ["a b", "it's", 'say "x"', "a=b,c"]),
        ("'1',1", ["1", 1]),
        ("[1,2],[3]", [[1, 2], [3]]),
        ("{a:1},{a:2}", [{"a": 1}, {"a": 2}]),
    ],
)
def test_choices_come_back_as_the_same_values(word: str, values: list[Any]) -> None:
    space = SearchSpace.of([f"a={word}"])
    for choice, value in zip(space.distributions["a"].choices, values, strict=True):  # type: ignore[attr-defined]
        (written,) = space.words({"a": choice})
        back = OverridesParser.create().parse_override(written).value()
        assert back == value
        assert type(back) is type(value)


def test_steps_are_decimal() -> None:
    space = SearchSpace.of(["a=range(0.1,1,0.1)"])
    values = [0.1 + k * 0.1 for k in range(9)]
    assert [space.words({"a": value}) for value in values] == [[f"a=0.{k}"] for k in range(1, 10)]
    assert SearchSpace.of(["a=interval(0,1)"]).words({"a": 1e-5}) == ["a=1e-05"]


def test_fixed_words_stay_and_later_ones_replace_earlier() -> None:
    space = SearchSpace.of(["a=1,2", "+b.c=3", "~d", "a=5", "e/f=x,y", "e/f@g=1,2"])
    assert space.fixed == ("+b.c=3", "~d", "a=5")
    assert list(space.dimensions) == ["e/f", "e/f@g"]
    assert space.words({"e/f": "y", "e/f@g": "1"}) == ["+b.c=3", "~d", "a=5", "e/f=y", "e/f@g=1"]


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("interval(1,1)", "first end must be less"),
        ("interval(2,1)", "first end must be less"),
        ("tag(log,interval(0,1))", "greater than 0"),
        ("tag(log,int(interval(-1,1)))", "greater than 0"),
        ("interval(0,inf)", "both ends must be numbers"),
        ("range(3,1)", "empty"),
        ("range(1,3,0)", "step of a range cannot be 0"),
        ("tag(log,range(1,100,3))", "no steps"),
        ("tag(logarithm,interval(1,2))", "tag logarithm means nothing"),
        ("tag(log,choice(1,2))", "no scale"),
        ("glob(*)", "list them"),
        ("1,1", "given twice"),
        ("choice(1", "missing|no viable|mismatched|extraneous|recognition"),
        ("1", "nothing to search"),
    ],
)
def test_what_is_no_space(word: str, fault: str) -> None:
    with pytest.raises(ConfigError, match=fault):
        SearchSpace.of([f"a={word}"])


def test_all_faults_are_told_together() -> None:
    with pytest.raises(ConfigError, match=r"(?s)2 faults.*a=interval.*b=glob"):
        SearchSpace.of(["a=interval(2,1)", "b=glob(*)", "c=1,2"])


def test_samples_hold_every_choice_with_every_group_and_both_ends() -> None:
    space = SearchSpace.of(["f=0", "model=x,y", "m.a=1,2,3", "m.b=interval(0,1)"])
    samples = space.samples()
    assert samples[0] == ["f=0", "model=x", "m.a=1", "m.b=0.0"]
    assert len(samples) == len({tuple(sample) for sample in samples}) == 8
    for model in ("x", "y"):
        for word in ("m.a=1", "m.a=2", "m.a=3", "m.b=0.0", "m.b=1.0"):
            assert any(f"model={model}" in sample and word in sample for sample in samples)


def test_samples_of_many_groups_are_every_pair_and_not_every_combination() -> None:
    groups = {"model": 8, "augment": 5, "balance": 3, "seed": 5}
    words = [f"{key}={','.join(f'v{k}' for k in range(n))}" for key, n in groups.items()]
    samples = SearchSpace.of([*words, "optim.lr=interval(0,1)"]).samples()
    assert len(samples) < 200  # of 8 x 5 x 3 x 5 x 2 combinations
    for word in ("augment=v4", "balance=v2", "optim.lr=1.0"):
        assert any({"model=v7", word} <= set(sample) for sample in samples)
    assert any({"augment=v4", "seed=v3"} <= set(sample) for sample in samples)
    assert len(SearchSpace.of([f"a.b{k}=interval(0,1)" for k in range(10)]).samples()) == 11


def test_number_of_points() -> None:
    assert SearchSpace.of(["a=1,2,3", "b=range(0,1,0.25)", "c=int(interval(1,5))"]).n_points == 60
    with pytest.raises(ConfigError, match=r"b is continuous"):
        _ = SearchSpace.of(["a=1,2", "b=interval(0,1)"]).n_points


def test_samples_are_in_one_order_in_every_process() -> None:
    code = (
        "from leukemia_lab.search.space import SearchSpace\n"
        "print(SearchSpace.of(['b.a=1,2', 'c.b=1,2', 'd.c=1,2']).samples())"
    )
    found = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2", "3")
    ]
    assert len(set(found)) == 1
