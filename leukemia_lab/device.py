"""Which device and which precision `auto` stands for on this machine."""

from __future__ import annotations

import torch

from leukemia_lab.errors import ConfigError


def resolve_device(accelerator: str, key: str) -> torch.device:
    """The device that config key `key` names: `auto` (CUDA where there is one), `cpu` or `cuda`; else ConfigError."""
    if accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError(
            f"{key}: 'cuda' is not available (torch {torch.__version__} sees no CUDA device); set {key}=auto"
        )
    use_cuda = accelerator == "cuda" or (accelerator == "auto" and torch.cuda.is_available())
    return torch.device("cuda", torch.cuda.current_device()) if use_cuda else torch.device("cpu")


def check_device_count(accelerator: str, n_devices: int, batch_size: int) -> None:
    """Raise ConfigError where there are fewer than `n_devices`, or a batch has fewer cells than there are devices."""
    if accelerator == "cuda" and n_devices > torch.cuda.device_count():
        raise ConfigError(
            f"trainer.devices={n_devices}: torch sees {torch.cuda.device_count()} CUDA device(s); set trainer.devices "
            "to that at most"
        )
    if n_devices > batch_size:
        raise ConfigError(
            f"trainer.devices={n_devices}: a batch of trainer.batch_size={batch_size} cells has none for some of "
            "them; set fewer devices, or a larger batch"
        )


def resolve_precision(precision: str, device: torch.device) -> str:
    """`auto` is bf16-mixed where the hardware multiplies bfloat16, else 32-true; other values stay."""
    if precision == "16-mixed" and device.type == "cpu":
        raise ConfigError(
            "trainer.precision: '16-mixed' needs a CUDA device; set bf16-mixed, 32-true or auto"
        )
    if precision != "auto":
        return precision
    if device.type == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"
    abilities = torch.cpu.get_capabilities()
    return "bf16-mixed" if abilities.get("amx_bf16") or abilities.get("avx512_bf16") else "32-true"


def device_name(device: torch.device) -> str:
    """The GPU's name, or `cpu`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
