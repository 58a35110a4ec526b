"""`snnlab reproduce`: a training repeated from its record, and compared."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from snnlab.cli.command import Call, command
from snnlab.config.references import external_references
from snnlab.console import console_logging, say
from snnlab.errors import ConfigError, RunFolderError, join_names
from snnlab.runs.recorded import RecordedRun, RunFiles, read_run
from snnlab.spec.override_texts import key_of

# Settings of paths, and of what another user's run may use.
SETTABLE = (
    "plugins",
    "logger",
    "callbacks",
    "init_from",
    "output_dir",
    "data.root",
    "data.store_dir",
    "data.download",
    "data.archives",
    "data.labels",
    "data.split_file",
)


@command("reproduce", section="train and compare", page="runs")
def reproduce(run: Annotated[str, "run"], *overrides: str, env: bool = False, call: Call) -> int:
    """Train again from the record of a run, and compare bit for bit.

    It trains with the config.yaml of the run, and with the threads, the backend and the first layer that it recorded,
    and compares every epoch's metrics, the predictions and the weights. The new run is next to the old one; its path is
    printed last. Exit status 0: all is the same; 1: something differs, and it is printed. The overrides set where
    recordings are, and what another user's run may use; settings that change the training are refused.

    Args:
        run: folder of a run, outputs/NAME/TIME_SEED
        env: print the pip command for the recorded versions, and train nothing

    Examples:
        snnlab reproduce outputs/NAME/TIME_SEED
        snnlab reproduce outputs/NAME/TIME_SEED --env
    """
    recorded = read_run(Path(run).expanduser())
    if env:
        print(install_line(recorded))
        return 0
    require_settable(recorded.folder, overrides)
    if recorded.imported is not None:
        raise RunFolderError(recorded.folder, "was imported, not trained", "snnlab import reads its file again")
    if recorded.status != "completed":
        raise RunFolderError(recorded.folder, f"is {recorded.status}", "only a completed run can be repeated")
    if extended := [text for text in map(_extension, recorded.resumed) if text]:
        raise RunFolderError(
            recorded.folder, f"was {extended[0]}", "one training with its config.yaml gives another run"
        )
    recorded.check_files()  # before hours of training: files to compare with may be missing

    from snnlab.session.training import repeat  # brings Lightning

    console_logging()
    repeated = repeat(recorded, overrides, call.started)
    for finding in repeated.findings:
        say(f"{finding.what}: {finding.text}")
    for line in repeated.environment_differences:
        say(f"  {line}")
    print(repeated.folder)
    return 0 if all(finding.same for finding in repeated.findings) else 1


def _extension(entry: dict[str, Any]) -> str:
    """Return as text how many epochs a resumed run was extended to; empty if it was not extended."""
    epochs = (entry.get("changed") or {}).get("trainer.max_epochs")
    return f"trained for {epochs[0]} epochs and then resumed for {epochs[1]}" if epochs else ""


def install_line(recorded: RecordedRun) -> str:
    """Return the pip command that installs the versions of a record."""
    versions, python = recorded.required("packages"), str(recorded.required("python"))
    packages = " ".join(f"'{name}=={version}'" for name, version in versions.items() if version)
    return f"python{'.'.join(python.split('.')[:2])} -m pip install {packages}"


def require_settable(run: Path, overrides: Sequence[str]) -> None:
    """Refuse overrides of other settings than `SETTABLE` and references to the environment."""
    external = [key for key, _ in external_references(RunFiles(run).config)] if overrides else []
    for text in overrides:
        if not any(key_of(text) == name or key_of(text).startswith(f"{name}.") for name in (*SETTABLE, *external)):
            raise ConfigError(text, "a run is repeated as it was", f"only {join_names(SETTABLE)} can be set")
