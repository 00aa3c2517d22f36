"""Any model of timm (PyTorch Image Models), an optional extra."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from leukemia_lab.errors import ConfigError
from leukemia_lab.nets.layout import WeightLayout
from leukemia_lab.nets.stages import HEAD, Stages, modules_by_stage
from leukemia_lab.schema import Fraction
from leukemia_lab.wording import nearest

TIMM_EXTRA = "pip install 'leukemia-lab[timm]'"
PREFIX = "timm_model."


class TimmNet(nn.Module):
    """Images [B, C, S, S] to logits [B, K] through a model of timm; `num_features` is its head's input width."""

    def __init__(self, timm_model: Any) -> None:
        super().__init__()
        self.timm_model = timm_model
        self.num_features = int(timm_model.head_hidden_size)

    def forward_features(self, images: Tensor) -> Tensor:
        """Images [B, C, S, S] to the pooled activations [B, num_features] before the classifier."""
        maps = self.timm_model.forward_features(images)
        features: Tensor = self.timm_model.forward_head(maps, pre_logits=True)
        return features

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, S, S] to logits [B, K]."""
        logits: Tensor = self.timm_model(images)
        return logits

    def stages(self) -> Stages:
        """`stem`, `stage1`, … as timm's own `group_matcher(coarse=True)` has them, `neck`, `head`.

        The neck is what timm groups with the classifier: a last norm or convolution.
        """
        parameters = dict(self.timm_model.named_parameters())
        heads = tuple(f"{name}." for name in _names(self.timm_model.pretrained_cfg["classifier"]))
        stage_of = {}
        for depth, names in _depths(self.timm_model).items():
            with_head = any(name.startswith(heads) for name in names)
            body = "neck" if with_head else "stem" if depth == 0 else f"stage{depth}"
            stage_of.update({parameters[name]: HEAD if name.startswith(heads) else body for name in names})
        order = dict.fromkeys(stage for stage in stage_of.values() if stage != HEAD)
        return modules_by_stage(self.timm_model, stage_of, [*order, HEAD])

    def weight_layout(self) -> WeightLayout:
        """Names as timm's files have them, behind a prefix."""
        config = self.timm_model.pretrained_cfg
        first = tuple(PREFIX + name for name in _names(config["first_conv"]))
        heads = tuple(PREFIX + name for name in _names(config["classifier"]))
        return WeightLayout(first, heads, convert=self._own_keys)

    def _own_keys(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        if any(key.startswith(PREFIX) for key in state):
            return dict(state)
        return {PREFIX + key: weight for key, weight in _as_in_timm(state, self.timm_model).items()}


def _depths(timm_model: Any) -> dict[int, list[str]]:
    """The names of the parameters by depth, as timm groups them; models that it does not group go by their children."""
    from timm.models import group_parameters

    try:
        return dict(group_parameters(timm_model, timm_model.group_matcher(coarse=True)))
    except (AttributeError, AssertionError):
        names: dict[str, list[str]] = {}
        for name, _ in timm_model.named_parameters():
            names.setdefault(name.partition(".")[0], []).append(name)
        return dict(enumerate(names.values()))


def _as_in_timm(state: Mapping[str, Tensor], timm_model: nn.Module) -> Mapping[str, Tensor]:
    """A file of a model's authors in timm's names, its position embeddings fitted to the image's size."""
    convert = getattr(sys.modules[type(timm_model).__module__], "checkpoint_filter_fn", None)
    if convert is None:
        return state
    try:
        converted: dict[str, Tensor] = convert(dict(state), timm_model)
    except Exception:  # not a file of this architecture: the comparison of keys says so better
        return state
    return converted


def timm_net(in_channels: int, n_classes: int, image_size: int, name: str, dropout: Fraction) -> TimmNet:
    """The model of timm called `name`, with random weights; `dropout` is before its classifier.

    Raises:
        ConfigError: timm is not installed or has no such model, or the model does not take images of this size.
    """
    config = known_config(name)
    encoder = ConfigError(
        f"timm's {name} has no classifier: it is an encoder only. Choose another model.net.name"
    )
    if not config.classifier:
        raise encoder
    options = {"in_chans": in_channels, "num_classes": n_classes, "drop_rate": dropout}
    try:
        net = TimmNet(_create(name, options, image_size if config.fixed_input_size else None))
        _start_undecided(net)
        if next(net.parameters()).is_meta:  # where a configuration is checked: a trial costs nothing
            net.eval()(torch.zeros(2, in_channels, image_size, image_size, device="meta"))
    except (AttributeError, TypeError) as error:
        raise encoder from error
    except (AssertionError, RuntimeError) as error:
        if "meta" in str(error):  # what the meta device cannot do says nothing about the size
            raise
        raise ConfigError(
            f"timm's {name} does not take images of {image_size} px ({error}). It was made for "
            f"{config.input_size[-1]} px: set model.image_size (or pipeline.image_size)"
        ) from error
    return net.train()


def _start_undecided(net: TimmNet) -> None:
    """First predictions near 1/K: EfficientNets draw a head for few classes so large that its loss starts at 2 to 3."""
    for name in _names(net.timm_model.pretrained_cfg["classifier"]):
        head = net.timm_model.get_submodule(name)
        nn.init.normal_(head.weight, std=0.01)
        if head.bias is not None:
            nn.init.zeros_(head.bias)


def _create(name: str, options: dict[str, Any], image_size: int | None) -> Any:
    import timm

    if image_size is not None:
        try:
            return timm.create_model(name, img_size=image_size, **options)
        except TypeError:  # it takes no size: the one it was made for is built in
            pass
    return timm.create_model(name, **options)


def known_config(name: str) -> Any:
    """The `timm.models.PretrainedCfg` of the model `name`, with or without a tag.

    Raises:
        ConfigError: timm is not installed or has no such model or tag.
    """
    try:
        import timm
    except ImportError as error:
        raise ConfigError(f"timm is not installed: {TIMM_EXTRA}") from error
    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        hint = nearest(architecture, timm.list_models())
        raise ConfigError(f"timm {timm.__version__} has no model {architecture!r}.{hint}")
    try:
        return timm.get_pretrained_cfg(name)
    except RuntimeError as error:
        tags = [known.partition(".")[2] for known in timm.list_pretrained(f"{architecture}.*")]
        raise ConfigError(
            f"timm's {architecture} has no weights {tag!r}; it has {', '.join(tags)}.{nearest(tag, tags)}"
        ) from error


def _names(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else tuple(names)
