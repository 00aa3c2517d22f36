"""One run by the content of its files, and how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from leukemia_lab.checklists import stamps


@dataclass(frozen=True)
class Run:
    """One run by the content of its record.json, config.yaml, metrics.json, and of `explained` where it is there."""

    record: Mapping[str, Any]
    config: Mapping[str, Any]
    metrics: Mapping[str, Any]
    explained: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """`<model>-<identity>`, as its folder."""
        known = [self.record.get("model", at(self.config, "model.name")), self.record.get("identity")]
        return "-".join(str(word).replace("/", "_") for word in known if word is not None)

    @property
    def stamps(self) -> list[str]:
        """Every stamp of the record and of the metrics, once."""
        return list(dict.fromkeys([*self.record.get("stamps", []), *self.metrics.get("stamps", [])]))

    @property
    def is_net(self) -> bool:
        """Whether it is a neural net, and no classical baseline."""
        return at(self.config, "model.net") is not None

    @property
    def is_classical(self) -> bool:
        """Whether it is a classifier on features."""
        return at(self.config, "model.classifier") is not None

    @property
    def shown_part(self) -> str | None:
        """The test part where it was opened, else the validation part; None where there are no metrics of either."""
        return next((part for part in ("test", "val") if part in self.metrics), None)


def at(values: Any, key: str) -> Any:
    """The value at a key like `optim.lr`, None where there is none."""
    for part in key.split("."):
        if not isinstance(values, Mapping) or part not in values:
            return None
        values = values[part]
    return values


def listed(values: Mapping[str, Any]) -> str:
    """`lr 0.001, schedule cosine`, without what is None."""
    return ", ".join(f"{key} {value}" for key, value in values.items() if value is not None)


def stamped(text: str | None, run: Run, names: Sequence[str]) -> str | None:
    """The sentence with the meaning of each of the run's stamps of these names; the stamps alone without it."""
    said = [stamps.meaning(stamp) for stamp in stamps.chosen(run.stamps, names)]
    whole = ". ".join([*([] if text is None else [text]), *said])
    return whole if whole else None
