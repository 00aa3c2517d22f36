"""The console script `leukemia-lab <command> …`: the same as `python -m leukemia_lab.<command> …`."""

from __future__ import annotations

import importlib
import os
import sys

COMMANDS = {
    "train": "fit a model, or with -m a sweep of models; ends with validation results",
    "evaluate": "open the locked test part of a finished run",
    "compare": "which run is better, and is that more than chance? by subject, two runs or many",
    "report": "leaderboard, comparisons and every run's results in one page",
    "check_claims": "are the numbers of a published table possible? by arithmetic alone",
    "study": "a paper's table beside ours, or a question of many runs",
    "reproduce": "all shipped studies, and one page of their results",
    "audit": "can this data be trusted? inventory, faults, duplicates, twins, confounds",
    "split": "draw a split, show its balance, write it to be shared and loaded back",
    "download": "fetch C-NMC 2019 and compare it with what was published",
    "export_features": "write a net's features, downsized pixels or morphology, one row a cell",
}
OF_TRAIN = ("study", "reproduce")  # commands that take the keys of train
COMPLETION = {
    "bash": """_leukemia_lab() {
    COMPREPLY=($(COMP_LINE="${COMP_LINE:0:COMP_POINT}" leukemia-lab complete))
}
COMP_WORDBREAKS=${COMP_WORDBREAKS//=}
complete -o nospace -o default -F _leukemia_lab leukemia-lab""",
    "zsh": """_leukemia_lab() {
    compadd -S '' -- $(COMP_LINE="${words[1,CURRENT]}" leukemia-lab complete)
}
compdef _leukemia_lab leukemia-lab""",
    "fish": """complete -c leukemia-lab -f \\
    -a '(COMP_LINE=(commandline -cp) leukemia-lab complete | string split " ")'""",
}


def main(argv: list[str] | None = None) -> int:
    """Run the command that `argv` (default: the command line) names; returns the exit status."""
    words = sys.argv[1:] if argv is None else argv
    name = words[0] if words else "--help"
    if name in COMMANDS:
        module = importlib.import_module(f"leukemia_lab.{name}")
        return int(module.main(words[1:]))
    if name == "complete":
        print(" ".join(completions(os.environ.get("COMP_LINE", ""))))
        return 0
    if name == "completion" and len(words) == 2 and words[1] in COMPLETION:
        print(COMPLETION[words[1]])
        return 0
    if name in ("--version", "-V"):
        from leukemia_lab import __version__

        print(f"leukemia-lab {__version__}")
        return 0
    print(usage(), file=sys.stdout if name in ("--help", "-h") else sys.stderr)
    if name in ("--help", "-h"):
        return 0
    from leukemia_lab.wording import nearest

    print(f"\nleukemia-lab: {' '.join(words)!r} is no command.{nearest(name, COMMANDS)}", file=sys.stderr)
    return 2


def usage() -> str:
    """The list of commands."""
    commands = "\n".join(f"  {name:<17}{text}" for name, text in COMMANDS.items())
    return f"""usage: leukemia-lab <command> [key=value …]

{commands}
  completion       print the completion script of a shell: eval "$(leukemia-lab completion bash|zsh|fish)"

leukemia-lab <command> --help lists a command's keys and their defaults."""


def completions(line: str) -> list[str]:
    """What may follow `line` (`leukemia-lab train model=v`): commands, then Hydra's groups, choices and keys."""
    words = line.split()
    if len(words) < 2 or (len(words) == 2 and not line.endswith(" ")):
        prefix = words[1] if len(words) == 2 else ""
        return [name for name in (*COMMANDS, "completion") if name.startswith(prefix)]
    if words[1] == "completion":
        return list(COMPLETION)
    if words[1] not in COMMANDS:
        return []
    from hydra._internal.core_plugins.bash_completion import BashCompletion

    from leukemia_lab.config import config_loader

    config, own = words[1], []
    if config in OF_TRAIN:
        begun = "" if line.endswith(" ") else words[-1]
        own = [word for word in _study_words(config) if word.startswith(begun)]
        config = "train"
    rest = line.split(maxsplit=2)[2] if len(words) > 2 else ""
    if line.endswith(" ") and rest and not rest.endswith(" "):
        rest += " "
    return [*own, *BashCompletion(config_loader(None))._query(config_name=config, line=rest)]


def _study_words(command: str) -> list[str]:
    """The words of `study` and `reproduce` that are not those of train."""
    from typing import get_args

    from leukemia_lab.schema.study import Budget
    from leukemia_lab.studies.definition import shipped_studies

    named = (
        [f"study={name}" for name in shipped_studies()] if command == "study" else ["check=true", "output="]
    )
    return [*named, *(f"study.budget={budget}" for budget in get_args(Budget))]


if __name__ == "__main__":
    sys.exit(main())
