"""The smallest image that a net's layers leave something of."""

from __future__ import annotations

from leukemia_lab.errors import ConfigError


def check_image_size(net: str, image_size: int, smallest: int) -> None:
    """Raise ConfigError where images of `image_size` px a side are too small for the net of that name."""
    if image_size < smallest:
        raise ConfigError(
            f"{net} needs images of {smallest} px or more: got {image_size}. "
            f"Set model.image_size (or pipeline.image_size) to {smallest} or more."
        )
