from __future__ import annotations

import sys

import pytest
import torch

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.layout import fit
from leukemia_lab.nets.stages import stages
from leukemia_lab.nets.timm_nets import timm_net
from leukemia_lab.nets.weights import load_into, weight_faults

timm = pytest.importorskip("timm", reason="timm is not installed")
STAGES = {  # how many stages lie between stem and head
    "resnet18": ["stage1", "stage2", "stage3", "stage4"],
    "tf_efficientnet_lite0": [f"stage{number}" for number in range(1, 8)],
    "vit_tiny_patch16_224": [f"stage{number}" for number in range(1, 13)],
    "convnext_atto": ["stage1", "stage2", "stage3", "stage4", "neck"],
    "mobilenetv3_small_050": [*(f"stage{number}" for number in range(1, 7)), "neck"],
}


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("in_channels", [3, 6])
def test_logits_are_the_classifier_of_the_features(name: str, in_channels: int) -> None:
    torch.manual_seed(0)
    net = timm_net(in_channels, 5, 64, name, 0.2).eval()
    images = torch.randn(2, in_channels, 64, 64)
    with torch.no_grad():
        features, logits = net.forward_features(images), net(images)
        assert features.shape == (2, net.num_features)
        assert logits.shape == (2, 5)
        torch.testing.assert_close(net.timm_model.get_classifier()(features), logits)


@pytest.mark.parametrize("name", STAGES)
def test_each_parameter_is_in_one_stage_in_timms_order(name: str) -> None:
    with torch.device("meta"):
        net = timm_net(3, 2, 64, name, 0.0)
    found = stages(net)
    assert list(found) == ["stem", *STAGES[name], "head"]
    listed = [
        id(weight) for modules in found.values() for module in modules for weight in module.parameters()
    ]
    assert sorted(listed) == sorted(id(weight) for weight in net.parameters())
    head = {id(weight) for module in found["head"] for weight in module.parameters()}
    assert head == {id(weight) for weight in net.timm_model.get_classifier().parameters()}


def test_a_class_token_belongs_to_the_stem_of_a_transformer() -> None:
    net = timm_net(3, 2, 64, "vit_tiny_patch16_224", 0.0)
    stem = {id(weight) for module in stages(net)["stem"] for weight in module.parameters()}
    assert {id(net.timm_model.cls_token), id(net.timm_model.pos_embed)} <= stem


def test_a_module_used_in_several_places_is_in_one_stage_once() -> None:
    with torch.device("meta"):
        found = stages(timm_net(3, 2, 64, "coat_tiny", 0.0))
    modules = [id(module) for modules in found.values() for module in modules]
    assert len(modules) == len(set(modules))


@pytest.mark.parametrize("name", STAGES)
def test_the_first_predictions_are_undecided(name: str) -> None:
    torch.manual_seed(0)
    net = timm_net(3, 2, 64, name, 0.0).eval()
    with torch.no_grad():
        features = net.forward_features(torch.randn(4, 3, 64, 64))
        scale = features.square().mean().sqrt()
        probabilities = net.timm_model.get_classifier()(features / scale).softmax(dim=1)
    assert (probabilities - 0.5).abs().max() < 0.3
    assert net.timm_model.get_classifier().weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_dropout_goes_to_timm() -> None:
    with torch.device("meta"):
        assert timm_net(3, 2, 64, "tf_efficientnet_lite0", 0.375).timm_model.drop_rate == 0.375


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"])
def test_timms_files_fit_without_their_head(name: str) -> None:
    published = timm.create_model(name)
    net = timm_net(3, 2, 224, name, 0.0)
    head = net.timm_model.get_classifier().weight.clone()
    assert load_into(net, published.state_dict()) == [
        "the head stays as initialised: the weights are for 1000 classes, the net for 2"
    ]
    images = torch.randn(1, 3, 224, 224)
    published.reset_classifier(0)
    with torch.no_grad():
        torch.testing.assert_close(net.eval().forward_features(images), published.eval()(images))
    assert torch.equal(net.timm_model.get_classifier().weight, head)


def test_position_embeddings_are_fitted_to_the_images_size() -> None:
    published = timm.create_model("vit_tiny_patch16_224").state_dict()
    net = timm_net(3, 2, 64, "vit_tiny_patch16_224", 0.0)
    load_into(net, published)
    own = net.timm_model.pos_embed
    assert own.shape == (1, 1 + 4 * 4, 192)
    torch.testing.assert_close(own[:, 0], published["pos_embed"][:, 0])  # the class token's is not resampled
    torch.testing.assert_close(own[:, 1:].mean(1), published["pos_embed"][:, 1:].mean(1), atol=2e-3, rtol=0)


def test_a_runs_own_weights_fit_with_their_head() -> None:
    torch.manual_seed(0)
    first, second = (timm_net(6, 2, 64, "mobilenetv3_small_050", 0.0) for _ in range(2))
    assert load_into(second, first.state_dict()) == []
    assert all(
        torch.equal(ours, theirs)
        for ours, theirs in zip(second.parameters(), first.parameters(), strict=True)
    )


def test_weights_of_another_model_are_named_on_the_meta_device() -> None:
    published = timm.create_model("resnet18").state_dict()
    with torch.device("meta"):
        net = timm_net(3, 2, 64, "convnext_atto", 0.0)
    missing, unexpected = weight_faults(net, published)
    assert "missing: timm_model.stem.0.weight [40, 3, 4, 4]" in missing
    assert "unexpected: timm_model.conv1.weight [64, 3, 7, 7]" in unexpected
    assert fit(net, {}).faults


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", r"has no model 'resnet81'\. Did you mean resnet18\?"),
        ("resnet18.a9_in1k", r"no weights 'a9_in1k'; it has .*a1_in1k.* Did you mean a\d_in1k\?"),
        ("hf-hub:timm/resnet18", "has no model"),
        ("qwen3_vit_88m_enc", "has no"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        timm_net(3, 2, 64, name, 0.0)


def test_a_tag_is_part_of_a_name() -> None:
    with torch.device("meta"):
        assert timm_net(3, 2, 64, "resnet18.a1_in1k", 0.0).timm_model.pretrained_cfg["tag"] == "a1_in1k"


@pytest.mark.parametrize(
    ("name", "image_size", "made_for"),
    [("inception_v3", 64, 299), ("efficientformer_l1", 64, 224), ("maxvit_pico_rw_256", 100, 256)],
)
def test_an_image_size_that_does_not_work_is_told_on_the_meta_device(
    name: str, image_size: int, made_for: int
) -> None:
    with (
        torch.device("meta"),
        pytest.raises(ConfigError, match=rf"not take images of {image_size} px .*made for {made_for} px"),
    ):
        timm_net(3, 2, image_size, name, 0.0)


def test_training_mode_after_building_on_any_device() -> None:
    with torch.device("meta"):
        assert timm_net(3, 2, 64, "resnet18", 0.0).timm_model.training
    assert timm_net(3, 2, 64, "resnet18", 0.0).timm_model.training


def test_without_timm_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ConfigError, match=r"timm is not installed: pip install 'leukemia-lab\[timm\]'"):
        timm_net(3, 2, 64, "resnet18", 0.0)


@pytest.mark.parametrize("name", ["poolformerv2_s12", "pit_ti_224"])
def test_models_that_timm_does_not_group_go_by_their_children(name: str) -> None:
    with torch.device("meta"):
        net = timm_net(3, 2, 224, name, 0.0)
    found = stages(net)
    assert list(found)[-1] == "head"
    assert len(found) > 2


def test_an_encoder_without_a_classifier_is_refused() -> None:
    encoders = timm.list_models("*_enc")
    assert encoders
    with torch.device("meta"), pytest.raises(ConfigError, match="has no classifier"):
        timm_net(3, 2, 224, encoders[0], 0.0)
