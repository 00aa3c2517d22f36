from __future__ import annotations

import pytest
import torch
from torch import nn

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.small import simple_cnn
from leukemia_lab.nets.stages import eval_frozen, frozen_stages, set_frozen, stages
from leukemia_lab.nets.vgg import vgg13


class Foreign(nn.Module):
    """A net of a user's own: a layer called `stages`, one without parameters, a head of another name."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.neck = nn.Linear(4, 4)
        self.classifier = nn.Linear(4, 2)


NETS = {
    "simple_cnn": (lambda: simple_cnn(3, 2, 32, 8, 0.1), ["block1", "block2", "block3", "head"]),
    "vgg13": (
        lambda: vgg13(3, 2, 32, 16, 0.1, batch_norm=True),
        [*(f"block{number}" for number in range(1, 6)), "hidden", "head"],
    ),
    "foreign": (Foreign, ["stages", "neck", "head"]),
}


@pytest.mark.parametrize("name", NETS)
def test_each_parameter_is_in_exactly_one_stage(name: str) -> None:
    build, names = NETS[name]
    net = build()
    found = stages(net)
    assert list(found) == names
    listed = [
        id(weight) for modules in found.values() for module in modules for weight in module.parameters()
    ]
    assert listed == [id(weight) for weight in net.parameters()]  # both in the order of the layers
    assert [id(weight) for weight in found["head"][0].parameters()] == listed[-2:]


def test_a_block_holds_all_its_layers() -> None:
    net = simple_cnn(3, 2, 32, 8, 0.1)
    kinds = [[type(layer).__name__ for layer in block] for block in list(stages(net).values())[:3]]
    assert kinds == [["Conv2d", "BatchNorm2d", "MaxPool2d", "ReLU"]] * 3


class BareParameter(Foreign):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


class HeadInTheMiddle(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head, self.last = nn.Linear(3, 3), nn.Linear(3, 2)


@pytest.mark.parametrize(
    ("net", "reason"),
    [
        (BareParameter(), "its parameters scale lie in no layer"),
        (HeadInTheMiddle(), r"its layer head is not its last one \(last\)"),
        (nn.Sequential(nn.Flatten()), "it has no layers with parameters"),
    ],
)
def test_a_net_that_cannot_be_cut_is_told_so(net: nn.Module, reason: str) -> None:
    with pytest.raises(ConfigError, match=rf"{reason}\. Give it a method stages\(\)"):
        stages(net)
    assert frozen_stages(net, "none", 0, None) == []  # but it can be trained whole
    eval_frozen(net, [])


@pytest.mark.parametrize(
    ("freeze", "epoch", "thaw_every", "n_frozen"),
    [
        ("none", 0, None, 0),
        ("none", 0, 1, 0),
        ("backbone", 0, None, 6),
        ("backbone", 99, None, 6),
        ("block1", 0, None, 1),
        ("block3", 5, None, 3),
        ("hidden", 0, None, 6),
        ("backbone", 1, 2, 6),
        ("backbone", 2, 2, 5),
        ("backbone", 11, 2, 1),
        ("backbone", 12, 2, 0),
        ("backbone", 50, 2, 0),
        ("block2", 1, 1, 1),
    ],
)
def test_frozen_stages(freeze: str, epoch: int, thaw_every: int | None, n_frozen: int) -> None:
    build, names = NETS["vgg13"]
    assert frozen_stages(build(), freeze, epoch, thaw_every) == names[:n_frozen]


@pytest.mark.parametrize(
    ("freeze", "hint"), [("blok3", r"Did you mean block3\?"), ("head", ""), ("Backbone", r"mean backbone\?")]
)
def test_unknown_stages_are_refused_with_the_names(freeze: str, hint: str) -> None:
    allowed = "none, backbone, block1, block2, block3"
    with pytest.raises(ConfigError, match=rf"model\.freeze: '{freeze}' .*allowed: {allowed}\..*{hint}"):
        frozen_stages(NETS["simple_cnn"][0](), freeze, 0, None)


def test_a_net_of_one_stage_cannot_be_frozen() -> None:
    net = nn.Sequential()
    net.add_module("everything", nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)))
    with pytest.raises(ConfigError, match=r"freeze=backbone: Sequential is a single stage"):
        frozen_stages(net, "backbone", 0, None)


def test_frozen_stages_neither_learn_nor_move_their_statistics() -> None:
    torch.manual_seed(0)
    net = vgg13(3, 2, 32, 16, 0.5, batch_norm=True).train()
    frozen = frozen_stages(net, "block2", 0, None)
    set_frozen(net, frozen)
    eval_frozen(net, frozen)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    optimiser = torch.optim.SGD(net.parameters(), lr=0.1)
    net(torch.randn(4, 3, 32, 32)).square().sum().backward()
    optimiser.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    n_layers = 14  # two blocks of two convolutions, norms and ReLUs, and a pooling
    frozen_names = {f"features.{index}." for index in range(n_layers)}
    assert not any(name.startswith(tuple(frozen_names)) for name in changed)
    assert len(changed) == len([name for name in before if not name.startswith(tuple(frozen_names))])
    set_frozen(net, [])
    assert all(weight.requires_grad for weight in net.parameters())


class Cut(nn.Module):
    """A net whose `stages()` a test chooses."""

    def __init__(self, names: dict[str, list[str]]) -> None:
        super().__init__()
        self.body, self.mid, self.out = nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2)
        self.names = names

    def stages(self) -> dict[str, list[nn.Module]]:
        return {stage: [getattr(self, name) for name in names] for stage, names in self.names.items()}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"body": ["body"], "head": ["out"]}, "in no stage or in several: mid.weight, mid.bias"),
        ({"body": ["body", "mid"], "head": ["mid", "out"]}, "in no stage or in several: mid.weight"),
        ({"head": ["out"], "body": ["body", "mid"]}, "the last stage is .*body"),
        ({}, "in no stage or in several: body.weight, body.bias, mid.weight, …"),
    ],
)
def test_stages_of_a_net_must_hold_every_parameter_once(names: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stages(Cut(names))


def test_complete_stages_of_a_net_are_taken() -> None:
    assert list(stages(Cut({"body": ["body", "mid"], "head": ["out"]}))) == ["body", "head"]
