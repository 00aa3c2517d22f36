"""The space of a search, written as overrides: `choice`, `interval`, `range`, `tag(log, ...)`, or `a,b,c`.

What these become is as in hydra-optuna-sweeper (facebookresearch/hydra, plugins/hydra_optuna_sweeper): choices are
categorical, `interval(lo,hi)` a float, `int(interval(lo,hi))` an integer with both ends, `range` steps, shuffled
ones categorical. One thing differs: a range ends before its stop, as in every other sweep of Hydra's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import product
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import (
    ChoiceSweep,
    Glob,
    IntervalSweep,
    Override,
    RangeSweep,
)
from hydra.errors import HydraException

from leukemia_lab.config import faults_error
from leukemia_lab.errors import ConfigError

if TYPE_CHECKING:
    from optuna import Trial
    from optuna.distributions import BaseDistribution

Number = int | float
LOG, INT = "log", "int"  # the tags that mean something


@dataclass(frozen=True)
class Choices:
    """One of these values, each the word that stands behind `key=`."""

    values: tuple[str, ...]

    @property
    def distribution(self) -> BaseDistribution:
        """Optuna's name for it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    @property
    def n_values(self) -> int:
        """How many values there are."""
        return len(self.values)

    def word(self, value: Any) -> str:
        """What to write for a value that Optuna proposed."""
        return str(value)

    def tried(self) -> list[str]:
        """Words that show whether the key takes such values: all."""
        return list(self.values)


@dataclass(frozen=True)
class Numbers:
    """Numbers from `low` to `high`, both included, evenly or by their logarithm, in steps where `step` is given."""

    low: Number
    high: Number
    step: Number | None
    log: bool

    @property
    def distribution(self) -> BaseDistribution:
        """Optuna's name for it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if isinstance(self.low, int) and isinstance(self.high, int):
            return IntDistribution(
                self.low, self.high, log=self.log, step=1 if self.step is None else int(self.step)
            )
        return FloatDistribution(self.low, self.high, log=self.log, step=self.step)

    @property
    def n_values(self) -> int | None:
        """How many values there are; None where they are too many to count."""
        step = 1 if self.step is None and isinstance(self.low, int) else self.step
        return None if step is None else round((self.high - self.low) / step) + 1

    def word(self, value: Any) -> str:
        """What to write for a value that Optuna proposed; in decimal steps 0.3, not 0.30000000000000004."""
        if self.step is None or isinstance(self.low, int):
            return repr(value)
        n_steps = round((value - self.low) / self.step)
        return str(float(Decimal(str(self.low)) + n_steps * Decimal(str(self.step))))

    def tried(self) -> list[str]:
        """Words that show whether the key takes such values: both ends."""
        return [self.word(self.low), self.word(self.high)]


Dimension = Choices | Numbers


@dataclass(frozen=True)
class SearchSpace:
    """The fixed overrides of a search, and what it varies: key (`optim.lr`, `model`, `+a.b`) to its dimension."""

    fixed: tuple[str, ...]
    dimensions: Mapping[str, Dimension]

    @classmethod
    def of(cls, words: Sequence[str]) -> SearchSpace:
        """The space that these overrides make; a later word for a key replaces an earlier one.

        Raises:
            ConfigError: words that are no space, all of them, or none that varies anything.
        """
        fixed: dict[str, str] = {}
        dimensions: dict[str, Dimension] = {}
        faults = []
        for word in words:
            try:
                override = OverridesParser.create().parse_override(word)
                key = override.get_key_element()
                fixed.pop(key, None)
                dimensions.pop(key, None)
                if override.is_sweep_override():
                    dimensions[key] = _dimension(override)
                else:
                    fixed[key] = word
            except (HydraException, ValueError) as error:
                faults.append(f"{word}: {str(error).strip().splitlines()[0]}")
        if not (faults or dimensions):
            faults.append(
                "nothing to search: give at least one key several values, e.g. "
                "'optim.lr=tag(log,interval(1e-5,1e-2))' or model=simple_cnn,vgg13"
            )
        if faults:
            raise faults_error(faults)
        return cls(tuple(fixed.values()), dimensions)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Optuna's distribution for each key."""
        return {key: dimension.distribution for key, dimension in self.dimensions.items()}

    @property
    def n_points(self) -> int:
        """How many combinations there are; ConfigError where a key takes any number of values."""
        counts = {key: dimension.n_values for key, dimension in self.dimensions.items()}
        endless = [key for key, count in counts.items() if count is None]
        if endless:
            raise ConfigError(
                f"search=grid tries every combination, and {', '.join(endless)} is continuous: give it a list "
                "of values or a range, or choose search=tpe"
            )
        return math.prod(count for count in counts.values() if count is not None)

    def words(self, params: Mapping[str, Any]) -> list[str]:
        """The overrides of the trial with these parameters."""
        return [
            *self.fixed,
            *(f"{key}={dimension.word(params[key])}" for key, dimension in self.dimensions.items()),
        ]

    def samples(self) -> list[list[str]]:
        """Overrides of configs that show together whether all values can be used, before anything is trained.

        Every choice and both ends of every range, with each choice of each group (`model`, `augment`), as groups decide
        which keys there are; whatever else varies has its first value. Their order is the same in every process.
        """
        tried = {key: dimension.tried() for key, dimension in self.dimensions.items()}
        first = {key: values[0] for key, values in tried.items()}
        groups = [
            key for key, found in self.dimensions.items() if "." not in key and isinstance(found, Choices)
        ]
        found = {self._words_of(first): None}
        for key in tried:
            for group in groups if groups else [key]:
                for choice, value in product(tried[group], tried[key]):
                    found[self._words_of(first | {group: choice, key: value})] = None
        return [list(words) for words in found]

    def _words_of(self, values: Mapping[str, str]) -> tuple[str, ...]:
        return (*self.fixed, *(f"{key}={values[key]}" for key in self.dimensions))


def _dimension(override: Override) -> Dimension:
    """The dimension of a sweep; ValueError says what is wrong with it."""
    sweep: Any = override.value()
    if isinstance(sweep, Glob):
        raise ValueError("glob() names no values for a search: list them, e.g. model=simple_cnn,vgg13")
    unknown = sorted(sweep.tags - {LOG, INT})
    if unknown:
        raise ValueError(f"tag {', '.join(unknown)} means nothing here; allowed: {LOG}, {INT}")
    if isinstance(sweep, IntervalSweep):
        return _interval(sweep)
    if isinstance(sweep, RangeSweep) and not sweep.shuffle:
        return _range(sweep)
    assert isinstance(sweep, ChoiceSweep | RangeSweep)
    if sweep.tags:
        raise ValueError("a list of values has no scale: tag intervals and ranges")
    # not as shuffled, which each command would do anew: the order of choices means nothing to a search
    words = [_word(value) for value in (sweep.range() if isinstance(sweep, RangeSweep) else sweep.list)]
    if len(set(words)) < len(words):
        raise ValueError("a value is given twice")
    return Choices(tuple(words))


def _word(value: Any) -> str:
    """The value as an override says it, quotes and all."""
    return str(value).lower() if isinstance(value, bool) else str(Override._get_value_element_as_str(value))


def _interval(sweep: IntervalSweep) -> Numbers:
    low, high = sweep.start, sweep.end
    assert low is not None
    assert high is not None
    if INT in sweep.tags:
        low, high = int(low), int(high)
    return _numbers(low, high, None, LOG in sweep.tags)


def _range(sweep: RangeSweep) -> Numbers:
    if sweep.step == 0:
        raise ValueError("the step of a range cannot be 0")
    values = sorted(sweep.range())
    if not values:
        raise ValueError("this range is empty: its stop is left out, so it lies behind the start")
    step: Number = abs(sweep.step)
    if not all(isinstance(bound, int) for bound in (sweep.start, sweep.stop, sweep.step)):
        values, step = [round(float(value), 12) for value in values], float(step)
        if INT in sweep.tags:
            raise ValueError("this range has fractions: write int(range(...)), or leave the tag out")
    log = LOG in sweep.tags
    if log and step != 1:
        raise ValueError("a range by logarithm has no steps: write interval(lo,hi), or leave the tag out")
    return _numbers(values[0], values[-1], None if log else step, log)


def _numbers(low: Number, high: Number, step: Number | None, log: bool) -> Numbers:
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"from {low} to {high}: both ends must be numbers")
    if low > high or (low == high and step is None):
        raise ValueError(f"from {low} to {high}: the first end must be less than the second")
    if log and low <= 0:
        raise ValueError(f"from {low} by logarithm: the first end must be greater than 0")
    return Numbers(low, high, step, log)


def suggested(trial: Trial, key: str, found: Any) -> Any:
    """The trial's value for `key`: what it has, or what its sampler proposes."""
    from optuna.distributions import CategoricalDistribution, IntDistribution

    if isinstance(found, CategoricalDistribution):
        return trial.suggest_categorical(key, found.choices)
    if isinstance(found, IntDistribution):
        return trial.suggest_int(key, found.low, found.high, step=found.step, log=found.log)
    return trial.suggest_float(key, found.low, found.high, step=found.step, log=found.log)
