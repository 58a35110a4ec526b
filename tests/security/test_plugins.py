"""A run cannot import code that the user has not named."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from platformdirs import user_data_path

import snnlab as package
from snnlab.errors import ConfigError

from ..marks import mostly_long
from ..refusals import assert_error_has, assert_raises
from .conftest import GAIN, SHORT, Outcome, edited

Snnlab = Callable[..., Outcome]
Theirs = Callable[[Mapping[str, str]], Path]

# Each command that opens a run, by what it does with it; FILE is a recording.
COMMANDS = {
    "report": ["report", "RUN"],
    "show": ["show", "RUN"],
    "evaluate": ["evaluate", "RUN"],
    "predict": ["predict", "RUN", "FILE"],
    "export": ["export", "RUN", "--what", "weights", "--out", "weights.npz"],
    "doctor": ["doctor", "RUN"],
    "reproduce": ["reproduce", "RUN"],
    "resume": ["train", "resume=RUN"],
    "runs list": ["runs", "list", "RUN"],
    "bench compare": ["bench", "compare", "RUN", "RUN"],
}
LOOKS = ("report", "runs list", "bench compare")


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    """Undo the imports of attacks and the registrations of our plugins."""
    from snnlab.nn import LAYERS

    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if "evil" in name or "attacked" in name:
            del sys.modules[name]
    for name in [name for name in LAYERS if "attacked" in name and "attacked_gain" not in sys.modules]:
        del LAYERS._entries[name]


def evil(path: Path, canary: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"open({str(canary)!r}, 'w').close()\n")


def words(command: str, run: str, workplace: Path) -> list[str]:
    np.save(workplace / "one.npy", np.zeros((4, 4), np.int64))
    return [word.replace("RUN", run).replace("FILE", "one.npy") for word in COMMANDS[command]]


PLACES = ("in the run, as a package", "in the run, from inside", "next to the run")


@pytest.mark.parametrize(
    ("command", "place"),
    mostly_long(
        [
            *((command, PLACES[0]) for command in COMMANDS),
            *zip(("show", "report"), PLACES[1:], strict=True),
        ],
        4,
    ),
)
def test_a_plugin_that_a_run_names_is_not_imported(
    command: str,
    place: str,
    trained: Path,
    workplace: Path,
    canary: Path,
    snnlab: Snnlab,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "run.evilmod" if place == "in the run, as a package" else "evilmod"
    run = edited(trained, workplace / "run", {"plugins": [name]})
    evil(workplace / "evilmod.py" if place == "next to the run" else run / "evilmod.py", canary)
    if place == "in the run, from inside":
        monkeypatch.chdir(run)
    done = snnlab(*words(command, str(run), Path.cwd()))
    assert not canary.exists()
    assert done.status == (0 if command in LOOKS else 2), done.err
    if command not in LOOKS:
        (line,) = done.err.splitlines()
        assert f"plugins=[{name}]" in line
    with assert_raises(ConfigError, "work/run", "plugins"):
        _ = package.load(run).network
    assert not canary.exists()


@pytest.mark.parametrize(
    ("command", "inside"),
    [("show", False), ("predict", False), ("resume", False), ("evaluate", True)],
)
def test_not_even_when_it_is_named_is_it_imported_from_the_runs_own_folder(
    command: str,
    inside: bool,
    trained: Path,
    digits_store: str,
    workplace: Path,
    canary: Path,
    snnlab: Snnlab,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name = "evilmod" if inside else "run.evilmod"
    run = edited(trained, workplace / "run", {"plugins": [name]})
    evil(run / "evilmod.py", canary)
    if inside:
        monkeypatch.chdir(run)
    store = [] if command in ("show", "predict") else [f"data.store_dir={digits_store}"]
    if command == "resume":  # of a run that has not ended, and has no checkpoint yet
        (run / "result.json").unlink()
        (run / "checkpoints" / "last.ckpt").unlink()
    done = snnlab(*words(command, str(run), Path.cwd()), f"plugins=[{name}]", *store)
    assert done.status == 2
    assert_error_has(done.error, "plugins", "folder")
    assert not canary.exists()
    if command != "resume":
        with assert_raises(ConfigError, "plugins", "folder"):
            _ = package.load(run, plugins=[name]).network
        assert not canary.exists()


@pytest.mark.long
def test_a_link_out_of_the_run_or_into_it_does_not_help(
    trained: Path, workplace: Path, canary: Path, snnlab: Snnlab
) -> None:
    run = edited(trained, workplace / "run", {"plugins": ["evilmod"]})
    evil(run / "payload.py", canary)
    evil(workplace / "outside" / "evilmod.py", canary)
    (workplace / "evilmod.py").symlink_to(run / "payload.py")
    (run / "evilfar.py").symlink_to(workplace / "outside" / "evilmod.py")
    (workplace / "alias").symlink_to(run)
    for name, folder in (
        ("evilmod", run),
        ("run.evilfar", run),
        ("alias.payload", run),
        ("run.payload", workplace / "alias"),
    ):
        done = snnlab("show", str(folder), f"plugins=[{name}]")
        assert done.status == 2, name
        assert_error_has(done.error, "plugins", "folder")
        assert not canary.exists(), name


def test_a_package_around_the_plugin_is_not_imported_to_find_it(
    trained: Path, workplace: Path, canary: Path, snnlab: Snnlab
) -> None:
    run = edited(trained, workplace / "run", {"plugins": ["run.inner.evilmod"]})
    for path in ("__init__.py", "inner/__init__.py", "inner/evilmod.py"):
        evil(run / path, canary)
    assert snnlab("show", "run", "plugins=[run.inner.evilmod]").status == 2
    assert snnlab("evaluate", "run").status == 2
    assert not canary.exists()


@pytest.mark.long
@pytest.mark.parametrize("command", ["evaluate", "predict", "reproduce"])
def test_an_own_run_at_its_recorded_place_needs_no_names(
    command: str, plugged: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plugged.parents[2])
    done = snnlab(*words(command, str(plugged), Path.cwd()))
    assert done.status == 0 or (command == "doctor" and done.status == 1), done.err


@pytest.mark.long
def test_an_own_run_is_inspected_without_its_code(
    plugged: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(plugged.parents[2])
    sys.modules.pop("attacked_gain", None)
    assert snnlab("report", str(plugged)).status == 0
    done = snnlab("show", str(plugged))
    assert done.status == 2
    assert_error_has(done.error, plugged.name, "plugins=[attacked_gain]")
    assert "attacked_gain" not in sys.modules


def _copied(plugged: Path, workplace: Path, store: str) -> Path:
    return Path(shutil.copytree(plugged, workplace / "run"))


def _edited(plugged: Path, workplace: Path, store: str) -> Path:
    run = _project(plugged, workplace)
    text = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(text.replace("seed: 0", "seed: 1"))
    return run


def _swapped(plugged: Path, workplace: Path, store: str) -> Path:
    run = _project(plugged, workplace)
    evil(workplace / "project" / "attacked_gain.py", workplace.parent / "canary")
    return run


def _from_elsewhere(plugged: Path, workplace: Path, store: str) -> Path:
    run = _project(plugged, workplace)
    (workplace / "elsewhere").mkdir()
    evil(workplace / "elsewhere" / "attacked_gain.py", workplace.parent / "canary")
    os.chdir(workplace / "elsewhere")
    return run


def _copy_edited(plugged: Path, workplace: Path, store: str) -> Path:
    run = _swapped(plugged, workplace, store)
    evil(run / "plugins" / "attacked_gain.py", workplace.parent / "canary")
    return run


def _forged(plugged: Path, workplace: Path, store: str) -> Path:
    from snnlab.runs.signature import FILE

    run = _copied(plugged, workplace, store)
    page = json.loads((run / FILE).read_text())
    page["signatures"] = [{**page["signatures"][0], "hmac": value} for value in ("", "0" * 64, None, 0, [])]
    (run / FILE).write_text(json.dumps(page))
    return run


def _open_key(plugged: Path, workplace: Path, store: str) -> Path:
    run = _project(plugged, workplace)
    (user_data_path("snnlab") / "key").chmod(0o644)
    return run


def _project(plugged: Path, workplace: Path) -> Path:
    """Return a run recorded in a separate project, with the signature of a run trained there."""
    from snnlab.runs.signature import read_signature, sign

    project = workplace / "project"
    run = Path(shutil.copytree(plugged, project / "outputs" / "run"))
    plugin = project / "attacked_gain.py"
    plugin.write_text(GAIN.format(name="attacked_gain"))
    sign(run, "config.yaml", (run / "config.yaml").read_text(), {"attacked_gain": plugin})
    os.chdir(project)
    assert read_signature(run, "config.yaml") is not None
    return run


@pytest.mark.parametrize("attack", [_copied, _edited, _copy_edited, _forged, _open_key])
def test_a_signature_covers_the_run_its_folder_and_its_code(
    attack: Callable[[Path, Path, str], Path],
    plugged: Path,
    workplace: Path,
    canary: Path,
    digits_store: str,
    snnlab: Snnlab,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    sys.modules.pop("attacked_gain", None)
    run = attack(plugged, workplace, digits_store)
    done = snnlab("evaluate", str(run))
    assert done.status == 2
    (line,) = done.err.splitlines()
    assert "plugins=[attacked_gain]" in line
    assert not canary.exists()


@pytest.mark.parametrize("change", [_swapped, pytest.param(_from_elsewhere, marks=pytest.mark.long)])
def test_an_own_run_opens_with_its_copy_of_a_plugin_that_was_edited_or_is_another_one_here(
    change: Callable[[Path, Path, str], Path],
    plugged: Path,
    workplace: Path,
    canary: Path,
    digits_store: str,
    snnlab: Snnlab,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from snnlab.nn import LAYERS

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    run = change(plugged, workplace, digits_store)
    sys.modules.pop("attacked_gain", None)
    LAYERS._entries.pop("attacked_gain", None)
    done = snnlab("evaluate", str(run))
    assert done.status == 0, done.err
    assert sys.modules["attacked_gain"].__file__ == str(run.absolute() / "plugins" / "attacked_gain.py")
    assert not canary.exists()


def test_a_package_is_kept_whole_and_runs_as_it_was(workplace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snnlab.config.plugins import find_recorded_plugins, import_plugins, plugin_files
    from snnlab.runs.run_folder import create_run_folder
    from snnlab.runs.signature import read_signature

    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "home"))
    monkeypatch.syspath_prepend(str(workplace))
    package_of = workplace / "evilpack"
    package_of.mkdir()
    (package_of / "__init__.py").write_text("")
    (package_of / "late.py").write_text("SIDE = 'then'")
    (package_of / "near.py").write_text("SIDE = 'then'")
    (package_of / "parts.py").write_text(
        "from .near import SIDE\n\ndef late():\n    from .late import SIDE\n    return SIDE\n"
    )

    def imported(run: Path | None) -> Any:
        for name in [name for name in sys.modules if name.startswith("evilpack")]:
            del sys.modules[name]
        import_plugins(SimpleNamespace(plugins=["evilpack.parts"], of_run=run))  # type: ignore[arg-type]
        return sys.modules["evilpack.parts"]

    assert imported(None).late() == "then"
    run = workplace / "run"
    create_run_folder(run, "seed: 0\n", plugin_files(["evilpack.parts"]))
    assert sorted(str(path.relative_to(run / "plugins")) for path in run.rglob("*.py")) == [
        *("evilpack/__init__.py", "evilpack/late.py", "evilpack/near.py", "evilpack/parts.py")
    ]
    for name in ("late", "near"):
        (package_of / f"{name}.py").write_text("SIDE = 'now, and longer'")
    known = read_signature(run, "config.yaml").plugins  # type: ignore[union-attr]
    for name in [name for name in sys.modules if name.startswith("evilpack")]:
        del sys.modules[name]
    assert find_recorded_plugins(run, ["evilpack.parts"], known) == []
    kept = imported(run)
    assert (kept.SIDE, kept.late()) == ("then", "then")
    assert (imported(None).SIDE, imported(None).late()) == ("now, and longer", "now, and longer")
    assert find_recorded_plugins(run, ["evilpack.parts"], known) == ["evilpack.parts"]  # another one is imported


def test_a_key_is_made_once_and_is_the_users_alone(
    trained: Path, workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnlab.runs.run_folder import create_run_folder
    from snnlab.runs.signature import FILE, read_signature

    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "home"))
    monkeypatch.setattr(os, "umask", os.umask)
    os.umask(0)
    try:
        create_run_folder(workplace / "one", "seed: 0\n")
        key = user_data_path("snnlab") / "key"
        content = key.read_bytes()
        create_run_folder(workplace / "two", "seed: 1\n")
    finally:
        os.umask(0o022)
    assert key.stat().st_mode & 0o077 == 0
    assert (key.read_bytes(), len(content)) == (content, 32)
    assert sorted(path.name for path in key.parent.iterdir()) == ["key"]
    assert all(read_signature(workplace / name, "config.yaml") is not None for name in ("one", "two"))
    assert content.hex() not in (workplace / "one" / FILE).read_text()


def test_a_home_that_cannot_be_written_leaves_a_run_unsigned_and_whole(
    workplace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from snnlab.runs.run_folder import create_run_folder
    from snnlab.runs.signature import read_signature

    (workplace / "file").write_text("")
    monkeypatch.setenv("XDG_DATA_HOME", str(workplace / "file"))
    create_run_folder(workplace / "one", "seed: 0\n")
    assert sorted(path.name for path in (workplace / "one").iterdir()) == ["checkpoints", "config.yaml"]
    assert read_signature(workplace / "one", "config.yaml") is None


def test_a_run_that_goes_on_with_other_settings_is_signed_with_both(workplace: Path) -> None:
    from snnlab.runs.signature import read_signature, sign

    run = workplace / "run"
    run.mkdir()
    for text in ("seed: 0\n", "seed: 1\n"):
        sign(run, "config.yaml", text)
        (run / "config.yaml").write_text(text)
        assert read_signature(run, "config.yaml") is not None
    (run / "config.yaml").write_text("seed: 0\n")  # killed before the new one was written
    assert read_signature(run, "config.yaml") is not None
    (run / "config.yaml").write_text("seed: 2\n")
    assert read_signature(run, "config.yaml") is None


@pytest.mark.long
def test_the_named_plugin_of_a_foreign_run_is_imported(
    plugged: Path, workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    run = Path(shutil.copytree(plugged, workplace / "run"))
    (workplace / "attacked_gain.py").write_text(GAIN.format(name="attacked_gain"))
    store = f"data.store_dir={digits_store}"
    done = snnlab("evaluate", "run", "plugins=[attacked_gain]", store)
    assert done.status == 0, done.err
    assert snnlab("show", "run", "plugins=[attacked_gain]").status == 0
    assert "gain" in dict(package.load(run, plugins=["attacked_gain"]).network.named_children())


@pytest.mark.parametrize(
    "named", mostly_long(["..evilmod", "antigravity", "pip.__main__", "evilmod/x", "os;evilmod", "__main__"], 3)
)
def test_a_file_names_no_plugin_of_any_kind(named: str, theirs: Theirs, canary: Path, snnlab: Snnlab) -> None:
    folder = theirs({"experiment/nice.yaml": f"# @package _global_\nplugins: ['{named}']\n"})
    evil(folder.parent / "evilmod.py", canary)
    evil(folder / "evilmod.py", canary)
    every = [["show"], ["validate", "theirs"], ["data", "where"], ["doctor"], ["find", "lr"], ["train"]]
    for command in every if named == "antigravity" else every[:1]:
        where = [] if command[0] == "validate" else ["--config-dir", "theirs", "experiment=nice"]
        done = snnlab(*command, *where)
        assert done.status == 2, command
        assert "plugins=[" in done.out + done.err
    with assert_raises(ConfigError, "plugins"):
        package.train("experiment=nice", config_dir="theirs")
    assert not canary.exists()


@pytest.mark.parametrize("group", ["model", "data", "logger"])
def test_no_group_of_files_names_one(group: str, theirs: Theirs, canary: Path, snnlab: Snnlab) -> None:
    folder = theirs({f"{group}/nice.yaml": "# @package _global_\nplugins: [theirs.evilmod]\n"})
    evil(folder / "evilmod.py", canary)
    done = snnlab("train", "--config-dir", "theirs", f"+{group}@_global_=nice", *SHORT)
    assert done.status == 2
    assert not canary.exists()


def test_typed_plugins_replace_those_of_a_file(theirs: Theirs, canary: Path, snnlab: Snnlab) -> None:
    folder = theirs({"experiment/nice.yaml": "# @package _global_\nplugins: [theirs.evilmod]\n"})
    evil(folder / "evilmod.py", canary)
    (folder.parent / "attacked_mine.py").write_text(GAIN.format(name="attacked_mine"))
    done = snnlab("show", "--config-dir", "theirs", "experiment=nice", "plugins=[attacked_mine]")
    assert done.status == 0, done.err
    assert not canary.exists()
