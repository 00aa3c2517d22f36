"""The study of a search in its storage: made, or found again where its trials can be compared with those to come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from leukemia_lab.errors import ConfigError
from leukemia_lab.schema.sweep import OBJECTIVES, Search
from leukemia_lab.search.definition import check_definition
from leukemia_lab.search.pruning import DEFINITION
from leukemia_lab.search.storage import open_storage, optuna, persistently, without_password
from leukemia_lab.targets import build

if TYPE_CHECKING:
    from optuna import Study


def open_study(search: Search, name: str, definition: dict[str, Any], address: str) -> Study:
    """The study `name` in the storage at `address`, with its definition checked; made where it is new.

    Raises:
        ConfigError: the storage cannot be used, or its trials are of another definition.
    """
    if search.study is None and search.storage is None:
        _refuse_another_search(name, definition, address)
    pruner = optuna().pruners.NopPruner() if search.pruner is None else build(search.pruner)
    study: Study = persistently(
        lambda: optuna().create_study(
            study_name=name,
            storage=open_storage(address),
            directions=[OBJECTIVES[objective] for objective in search.objectives],
            pruner=pruner,
            load_if_exists=True,
        )
    )
    known = study.user_attrs.get(DEFINITION)
    if known is None and study.get_trials(deepcopy=False):
        raise ConfigError(
            f"study {name} in {without_password(address)} was not made by leukemia_lab: give another search.study"
        )
    if known is None:
        study.set_user_attr(DEFINITION, definition)
    else:
        check_definition(name, known, definition)
    return study


def _refuse_another_search(name: str, definition: dict[str, Any], address: str) -> None:
    """A folder's own storage is for one search: trials of two in one table could not be compared."""
    storage = open_storage(address)
    others = persistently(lambda: [study.study_name for study in storage.get_all_studies()])
    for other in others if name not in others else ():
        known = optuna().load_study(study_name=other, storage=storage).user_attrs.get(DEFINITION, {})
        check_definition(f"{other} in {address}", known, definition, "give another hydra.sweep.dir")
