"""The fused LoG against Kornia's two steps: `python benchmarks/bench_log_filter.py` prints one line."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from kornia.filters import gaussian_blur2d, laplacian
from torch import Tensor

from leukemia_lab.ops.log_filter import log_filter, log_kernel

N_IMAGES, IMAGE_SIZE, SIGMA_PX, GAUSSIAN_SIZE, LAPLACIAN_SIZE = 32, 224, 1.0, 7, 3
ROUNDS = 9


def seconds(run: Callable[[], Tensor]) -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - started


def main() -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = torch.rand(N_IMAGES, 3, IMAGE_SIZE, IMAGE_SIZE, device=device)
    kernel = log_kernel("kornia", SIGMA_PX, GAUSSIAN_SIZE, LAPLACIAN_SIZE).to(device)

    def two_steps(batch: Tensor) -> Tensor:
        return laplacian(gaussian_blur2d(batch, (GAUSSIAN_SIZE,) * 2, (SIGMA_PX,) * 2), LAPLACIAN_SIZE)

    channels_last = images.contiguous(memory_format=torch.channels_last)  # as the input pipeline has them
    runs: dict[str, Callable[[], Tensor]] = {
        "kornia": lambda: two_steps(images),
        "kornia channels_last": lambda: two_steps(channels_last),
        "fused": lambda: log_filter(channels_last, kernel),
    }
    for run in runs.values():
        run()
    # Interleaved, so that a change of the machine's load falls on all of them.
    times = [{name: seconds(run) for name, run in runs.items()} for _ in range(ROUNDS)]
    median = {name: statistics.median(row[name] for row in times) for name in runs}
    figures = ", ".join(f"{name} {1e6 * value / N_IMAGES:.0f} us/image" for name, value in median.items())
    ratios = [median[name] / median["fused"] for name in ("kornia", "kornia channels_last")]
    print(f"log_filter on {device}: {figures}; fused is {ratios[0]:.1f}x and {ratios[1]:.1f}x as fast")


if __name__ == "__main__":
    main()
