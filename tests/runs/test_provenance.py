from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from snnlab.runs import provenance as provenance_module
from snnlab.runs.provenance import git_state, provenance


@pytest.fixture(autouse=True)
def _no_other_repository(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Let git see neither the user's settings nor a repository around the temporary folder."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    command = ["git", "-C", str(folder), *who, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    _git(tmp_path, "init", "--quiet")
    (tmp_path / "code.py").write_text("1")
    _git(tmp_path, "add", "code.py")
    _git(tmp_path, "commit", "--quiet", "--message", "first")
    return tmp_path


def test_a_clean_repository_gives_its_commit(repository: Path) -> None:
    (repository / "below").mkdir()
    expected = {"commit": _git(repository, "rev-parse", "HEAD"), "dirty": False}
    assert git_state(repository) == git_state(repository / "below") == expected


@pytest.mark.parametrize(("name", "dirty"), [("code.py", True), ("outputs/run/log.txt", False)])
def test_a_changed_file_makes_it_dirty_and_a_new_one_such_as_a_run_s_does_not(
    repository: Path, name: str, dirty: bool
) -> None:
    (repository / name).parent.mkdir(parents=True, exist_ok=True)
    (repository / name).write_text("2")
    state = git_state(repository)
    assert state is not None
    assert state["dirty"] is dirty


@pytest.fixture
def package(repository: Path) -> Path:
    """Return a package's folder in a repository, committed."""
    folder = repository / "package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    _git(repository, "add", "package")
    _git(repository, "commit", "--quiet", "--message", "second")
    return folder


@pytest.mark.parametrize(
    ("name", "dirty"), [(None, False), ("code.py", False), ("package/__init__.py", True), ("package/new.py", True)]
)
def test_a_changed_or_new_file_of_the_code_makes_the_code_dirty(
    package: Path, monkeypatch: pytest.MonkeyPatch, name: str | None, dirty: bool
) -> None:
    monkeypatch.setattr(provenance_module, "CODE", package)
    if name:
        (package.parent / name).write_text("2")
    expected = {"commit": _git(package, "rev-parse", "HEAD"), "dirty": dirty}
    assert record_of("seed: 0\n")["git"] == expected


def test_a_package_that_is_installed_in_another_repository_does_not_have_its_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (repository / "venv" / "package").mkdir(parents=True)
    (repository / "venv" / "package" / "__init__.py").write_text("")
    monkeypatch.setattr(provenance_module, "CODE", repository / "venv" / "package")
    monkeypatch.setattr(provenance_module, "PACKAGES", ("no-such-package",))
    assert record_of("seed: 0\n")["git"] is None


def test_a_package_installed_by_pip_from_a_commit_has_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "mine-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (info / "direct_url.json").write_text('{"url": "u", "vcs_info": {"vcs": "git", "commit_id": "c0ffee"}}')
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(provenance_module, "CODE", tmp_path)
    monkeypatch.setattr(provenance_module, "PACKAGES", ("mine",))
    assert record_of("seed: 0\n")["git"] == {"commit": "c0ffee", "dirty": False}


def test_the_environment_of_a_git_hook_is_ignored(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = git_state(repository)
    monkeypatch.setenv("GIT_DIR", str(repository / "elsewhere"))
    assert git_state(repository) == expected


def test_outside_a_repository_there_is_no_state(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None


def test_without_git_there_is_no_state(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(repository))
    assert git_state(repository) is None


def test_a_state_that_git_does_not_report_is_unknown(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run

    def slow(command: list[str], **settings: Any) -> Any:
        if "status" in command:
            raise subprocess.TimeoutExpired(command, 10)
        return run(command, **settings)

    monkeypatch.setattr(provenance_module.subprocess, "run", slow)
    state = git_state(repository)
    assert state is not None
    assert state["dirty"] is None


def record_of(text: str) -> dict[str, Any]:
    return provenance(
        config_text=text,
        data_fingerprint="of data",
        split_hash="of split",
        device=torch.device("cpu"),
        backend="numba",
        kernels=7,
        approximate=["lif2"],
        sparse_input=True,
        heap_kept=True,
        precision="bf16-mixed",
        processes={"number": 2},
    )


def test_it_has_code_versions_machine_configuration_and_data(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    record = record_of("seed: 0\n")
    assert record["processes"] == {"number": 2}
    assert set(record) == {
        *("git", "working_folder", "python", "packages", "platform", "device", "threads", "processes", "numerics"),
        *("config_hash", "data_fingerprint", "split_hash", "openmp_spin_count"),
    }
    assert record["working_folder"]["commit"] == _git(repository, "rev-parse", "HEAD")
    assert record["git"] != record["working_folder"]
    assert record["config_hash"] == hashlib.sha256(b"seed: 0\n").hexdigest()
    assert (record["data_fingerprint"], record["split_hash"]) == ("of data", "of split")
    assert record["packages"]["torch"] == torch.__version__
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["threads"] == torch.get_num_threads()
    assert record["numerics"]["default_dtype"] == "float32"
    numerics = record["numerics"]
    assert (numerics["backend"], numerics["sparse_input"], numerics["heap_kept"]) == ("numba", True, True)
    assert (numerics["precision"], numerics["kernels"]) == ("bf16-mixed", 7)
    assert numerics["approximate"] == ["lif2"]
    assert record["device"]
    json.dumps(record)  # plain values alone
