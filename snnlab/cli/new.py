"""Save overrides as a file of your own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from snnlab.cli.command import ConfigDir, command
from snnlab.config.catalogue import catalogue, rivals_at
from snnlab.config.compose import compose_experiment, read_overrides
from snnlab.config.folders import config_folder, groups, user_folder, write_new
from snnlab.config.overrides import data_rivals
from snnlab.errors import ConfigError
from snnlab.spec.override_texts import key_of

if TYPE_CHECKING:
    from snnlab.config.schema import Experiment
HEADER = "# @package _global_\n# {command}\n# {words}\n"


@command("new experiment", section="data and files", page="layers")
def new_experiment(
    name: Annotated[str, "name"], *overrides: str, force: bool = False, config_dir: ConfigDir = None
) -> None:
    """Save overrides as an experiment's YAML file, DIR/experiment/NAME.yaml.

    DIR is SNNLAB_CONFIG_DIR, or mine. Everything but the recordings is built before, as a check.

    Args:
        name: of the experiment
        force: overwrite an existing file

    Examples:
        snnlab new experiment fast_digits neuron.tau_mem=10 model=mlp_lif
        snnlab train --config-dir mine experiment=fast_digits
    """
    folder = Path(config_dir).expanduser() if config_dir is not None else user_folder() or Path("mine")
    print(write_experiment(folder, name, list(overrides), force=force))


def write_experiment(folder: Path, name: str, overrides: list[str], *, force: bool = False) -> str:
    """Write the experiment after checking that it builds; return the command that runs it.

    Args:
        folder: The user's folder of YAML files; it is made if it does not exist.
        force: Whether an existing file is overwritten.
    """
    from snnlab.session.session import check_experiment

    if not name.isidentifier():
        raise ConfigError("new", f"'{name}' cannot be a name", "use letters, digits and _")
    path, user_dir = folder / "experiment" / f"{name}.yaml", folder if folder.is_dir() else None
    if path.exists() and not force:
        raise ConfigError(path, "exists already", "--force overwrites it, or choose another name")
    typed = read_overrides(overrides, user_dir)
    experiment, run_folder = compose_experiment(typed, user_dir)
    command = with_plugins(f"snnlab train --config-dir {folder} experiment={name}", typed)
    text = experiment_text(name, typed, command, folder)
    check_experiment(experiment, run_folder, here=False)
    write_new(path, text, replace=force)
    return command


def with_plugins(command: str, overrides: Sequence[str]) -> str:
    """Return a command with the plugins that overrides name: a YAML file alone does not import plugins."""
    named = [quote(text) for text in overrides if key_of(text) == "plugins"]
    return " ".join([command, *named])


def experiment_text(name: str, overrides: list[str], command: str, folder: Path) -> str:
    """Return overrides as the text of an experiment's YAML.

    Args:
        command: The command that runs it, for its first line.
        folder: The user's folder of YAML files; it may not exist.
    """
    user_dir = folder if folder.is_dir() else None
    known = groups(config_folder(), user_dir)
    files = [
        text for text in overrides if _parse_override(text)[0] in (*known, "plugins")
    ]  # a file may name their kinds
    chosen = compose_experiment(files, user_dir)[0]
    values = OmegaConf.create({"name": name})
    choices: list[Any] = []
    for key, value in map(_parse_override, overrides):
        if key in known:
            choices.append({f"override /{key}": value})
        else:
            OmegaConf.update(values, key, value, merge=True, force_add=True)
            for rival in _rivals(chosen, key) if value is not None else ():
                OmegaConf.update(values, rival, None, force_add=True)
    text = HEADER.format(command=command, words=f"As snnlab train {' '.join(overrides)}".rstrip())
    if choices:
        text += OmegaConf.to_yaml(OmegaConf.create({"defaults": choices})) + "\n"
    return text + OmegaConf.to_yaml(values)


def _rivals(experiment: Experiment, key: str) -> list[str]:
    """Return the settings that one replaces, and that the chosen files set."""
    head = key.rpartition(".")[0]
    if head == "data":
        return [other for other in data_rivals(key) if experiment.data.get(other.partition(".")[2]) is not None]
    known = catalogue(tuple(experiment.plugins))
    found = rivals_at(known, experiment.neuron, experiment.model, key)
    return [f"{head}.{rival}" for node, rival in found if node.get(rival) is not None]


def _parse_override(override: str) -> tuple[str, Any]:
    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_delete() or parsed.is_sweep_override() or parsed.key_or_group.startswith("hydra"):
        raise ConfigError(override, "an experiment holds values and choices of files, not this")
    return parsed.key_or_group, parsed.value()
