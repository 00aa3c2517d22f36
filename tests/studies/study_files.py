"""Studies of seconds, as a user would write them."""

from __future__ import annotations

from pathlib import Path

import yaml

FAST = ("model.classifier.cv_folds=2", "model.classifier.grid={}", "pipeline.image_size=32")
CELLS = ("data.n_cells=140", "data.n_subjects=28", "data.n_twins=1")
ROWS = [
    {"name": "KNN", "overrides": ["model=knn", *FAST]},
    {"name": "forest", "overrides": ["model=rf", *FAST]},
]
ARMS = [{"name": "holdout", "overrides": ["protocol=subject_holdout"]}]


def study_file(folder: Path, name: str = "mine", **changed: object) -> Path:
    """A YAML with two rows and one arm; `changed` keys replace those."""
    content = {"title": "Mine", "question": "Which is better?", "rows": ROWS, "arms": ARMS}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump(content | changed, sort_keys=False))
    return path
