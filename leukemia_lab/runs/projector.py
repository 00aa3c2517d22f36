"""The files of TensorBoard's embedding projector: coordinates, what is known of each cell, and its thumbnail."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from PIL import Image

from leukemia_lab.atomic import replacing
from leukemia_lab.errors import RunError

CONFIG = "projector_config.pbtxt"  # where TensorBoard looks for it, in the folder of the events
MAX_CELLS = 500  # a browser turns that many thumbnails smoothly
MAX_DIMENSIONS = 64  # text files of more take megabytes and seconds; the projector itself shows three
THUMBNAIL_PX = 40
CONFIG_TEXT = f"""embeddings {{{{
  tensor_name: {{name}}
  tensor_path: "projector/tensors.tsv"
  metadata_path: "projector/metadata.tsv"
  sprite {{{{
    image_path: "projector/sprite.png"
    single_image_dim: {THUMBNAIL_PX}
    single_image_dim: {THUMBNAIL_PX}
  }}}}
}}}}
"""


def write_projector(
    folder: Path,
    name: str,
    features: npt.NDArray[np.floating],
    about: pd.DataFrame,
    images: npt.NDArray[np.uint8],
) -> None:
    """Write the projector of one set of cells into the folder of a run's events, in place of an earlier one.

    features [n, D], brought to MAX_DIMENSIONS principal components where D is more; `about` holds a column a
    property, n rows; images uint8 [n, H, W, 3].

    Raises:
        RunError: the three do not have the same number of cells, or there is none.
    """
    if not 0 < len(features) == len(about) == len(images):
        raise RunError(
            f"a projector needs as many features ({len(features)}) as rows ({len(about)}) and images ({len(images)}), "
            "one at least."
        )
    files = folder / "projector"
    files.mkdir(parents=True, exist_ok=True)
    np.savetxt(files / "tensors.tsv", principal_components(features), fmt="%.6g", delimiter="\t")
    _plain(about).to_csv(files / "metadata.tsv", sep="\t", index=False, quoting=3, quotechar="\0")
    sprite(images).save(files / "sprite.png")
    with replacing(folder / CONFIG) as partial:  # last, so that TensorBoard finds all it names
        partial.write_text(CONFIG_TEXT.format(name=json.dumps(name, ensure_ascii=False)), encoding="utf-8")


def principal_components(features: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """`features` [n, D] as they are where D <= MAX_DIMENSIONS, else their first principal components, centred.

    The scores of sklearn.decomposition.PCA up to their signs.
    """
    values = np.asarray(features, dtype=np.float64)
    if values.shape[1] <= MAX_DIMENSIONS:
        return values
    left, lengths, _ = np.linalg.svd(values - values.mean(axis=0), full_matrices=False)
    scores: npt.NDArray[np.float64] = (left * lengths)[:, :MAX_DIMENSIONS]
    return scores


def sprite(images: npt.NDArray[np.uint8]) -> Image.Image:
    """All images uint8 [n, H, W, 3] as thumbnails in one square, row by row from the top left."""
    side = math.ceil(math.sqrt(len(images)))
    square = Image.new("RGB", (side * THUMBNAIL_PX, side * THUMBNAIL_PX))
    for k, image in enumerate(images):
        thumbnail = Image.fromarray(image).resize((THUMBNAIL_PX, THUMBNAIL_PX), Image.Resampling.BOX)
        square.paste(thumbnail, (k % side * THUMBNAIL_PX, k // side * THUMBNAIL_PX))
    return square


def _plain(about: pd.DataFrame) -> pd.DataFrame:
    """Text without what would end a field."""
    return about.astype(str).replace(r"[\t\r\n]", " ", regex=True)
