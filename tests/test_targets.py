from __future__ import annotations

import re

import pytest

from leukemia_lab.errors import ConfigError
from leukemia_lab.targets import build, locate, target_faults


def net(in_channels: int, width: int, share: float = 0.5) -> tuple[int, int, float]:
    return in_channels, width, share


def open_net(in_channels: int, **rest: int) -> dict[str, int]:
    return {"in_channels": in_channels, **rest}


HERE = __name__


def test_build_passes_the_nodes_keys_and_the_supplied_arguments() -> None:
    assert build({"_target_": f"{HERE}.net", "width": 4}, in_channels=3) == (3, 4, 0.5)
    assert build({"_target_": f"{HERE}.open_net", "depth": 2}, in_channels=3) == {
        "in_channels": 3,
        "depth": 2,
    }


def test_all_faults_of_a_node_are_found_at_once() -> None:
    faults = target_faults(
        {"_target_": f"{HERE}.net", "widht": 1, "share": "x"}, ["in_channels"], "model.net"
    )
    assert len(faults) == 3
    assert "model.net.widht" in faults[0]
    assert "Did you mean model.net.width?" in faults[0]
    assert "model.net.width: missing" in faults[1]
    assert "model.net.share: 'x' cannot be used" in faults[2]


def test_what_the_framework_supplies_cannot_be_set_and_must_be_taken() -> None:
    assert (
        "takes no such argument"
        in target_faults({"_target_": f"{HERE}.net", "width": 1, "in_channels": 2}, ["in_channels"], "k")[0]
    )
    assert (
        "takes no argument 'n_classes'"
        in target_faults({"_target_": f"{HERE}.net", "width": 1}, ["in_channels", "n_classes"], "k")[0]
    )


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_package.Net", "no module 'no_such_package'"),
        (f"{HERE}.nett", "Did you mean net?"),
        (f"{HERE}.HERE", "is a str, not a class or function"),
        ("plain", "no module 'plain'"),
    ],
)
def test_a_path_that_leads_nowhere_says_where_it_ends(path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        locate(path)


def test_a_module_that_fails_at_import_says_why(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_net.py").write_text("import no_such_dependency\n")
    (tmp_path / "raising_net.py").write_text("raise RuntimeError('boom')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigError, match="no_such_dependency"):
        locate("broken_net.Net")
    with pytest.raises(ConfigError, match="boom"):
        locate("raising_net.Net")


def test_a_node_without_target_is_a_fault() -> None:
    assert "model.net._target_: missing" in target_faults({"width": 1}, [], "model.net")[0]
    with pytest.raises(ConfigError, match="width: missing"):
        build({"_target_": f"{HERE}.net"}, in_channels=3)
