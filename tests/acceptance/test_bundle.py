"""`snnlab export --bundle`: what docs/export.md promises of a network in one file."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load as load_arrays, save as save_arrays

from snnlab import load, train
from snnlab.session.bundle_export import write_bundle

from ..refusals import assert_error_has, assert_text_has
from .conftest import WHOLE, Outcome

Snnlab = Callable[..., Outcome]


@pytest.fixture
def bundle(digits_run: Path, workplace: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a bundle of a run, on a machine that has nothing else of it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(workplace / "cache"))
    done = snnlab("export", str(digits_run), "--bundle", "one.snn", "--licence", "CC BY 4.0")
    assert done.status == 0, done.err
    assert done.out.splitlines()[-1] == "one.snn"
    return workplace / "one.snn"


def test_it_predicts_as_the_run_does(bundle: Path, digits_run: Path, digit: Path, snnlab: Snnlab) -> None:
    there, here = (snnlab("predict", named, str(digit)) for named in (str(bundle), str(digits_run)))
    assert (there.status, there.out) == (0, here.out), there.err
    assert load(bundle).predict(str(digit)) == load(digits_run).predict(str(digit))


def test_a_training_begins_with_its_weights(bundle: Path, digits_store: str, digits_run: Path, workplace: Path) -> None:
    run = train(*WHOLE, digits_store, "data.num_bins=16", f"init_from={bundle}", "fit_on=train", "trainer.max_epochs=1",
                "optimizer.lr=1e-30", f"output_dir={workplace / 'runs'}")  # fmt: skip
    own, before = (load(folder).network.state_dict() for folder in (run.folder, digits_run))
    np.testing.assert_array_equal(own["fc1.weight"].numpy(), before["fc1.weight"].numpy())


def test_an_evaluation_is_written_where_one_is_and_not_into_the_cache(
    bundle: Path, workplace: Path, digits_store: str, snnlab: Snnlab
) -> None:
    done = snnlab("evaluate", "one.snn", digits_store)
    assert done.status == 0, done.err
    assert Path(done.out.splitlines()[-1]).parts[:3] == ("outputs", "one", "evaluations")
    assert not [*(workplace / "cache").rglob("evaluations")]
    trained_on = snnlab("evaluate", "one.snn", digits_store, "--split", "val", "data.split_seed=1")
    assert trained_on.status == 2
    assert_text_has(trained_on.err, "one.snn", "trained on")


def test_it_names_no_folder_of_the_machine_and_states_its_licence(bundle: Path, digits_run: Path) -> None:
    with zipfile.ZipFile(bundle) as archive:
        texts = {name: archive.read(name) for name in archive.namelist()}
    assert "CC BY 4.0" in texts["card.yaml"].decode()
    assert not [name for name in texts if name.endswith((".py", ".ckpt", ".pkl"))]
    for name in ("config.yaml", "result.json", "card.yaml", "split.json"):
        assert str(digits_run.parents[1]) not in texts[name].decode()


WRONG_WEIGHTS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "negated": lambda values: -values,
    "nan": lambda values: values * np.float32("nan"),
    "int8": lambda values: values.astype(np.int8),
}


@pytest.mark.parametrize("has_hash", [True, False])
@pytest.mark.parametrize("change", WRONG_WEIGHTS.values(), ids=WRONG_WEIGHTS)
def test_other_weights_than_those_of_its_result_give_no_answer(
    bundle: Path, digit: Path, snnlab: Snnlab, change: Callable[[np.ndarray], np.ndarray], has_hash: bool
) -> None:
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    weights = load_arrays(files["weights.safetensors"])
    name = next(name for name, values in weights.items() if values.ndim > 1)
    weights[name] = change(weights[name])
    if not has_hash:
        files["result.json"] = json.dumps(json.loads(files["result.json"]) | {"weights": {}}).encode()
    write_bundle(Path("other.snn"), files | {"weights.safetensors": save_arrays(weights)})
    done = snnlab("predict", "other.snn", str(digit))
    if not has_hash and change is WRONG_WEIGHTS["negated"]:
        assert done.status == 0
        return
    assert done.status == 2
    assert_error_has(done.error, "other.snn")
    assert "bundles" not in done.err


def test_plugins_are_named_and_not_imported_and_the_card_opens_without_them(
    digits_run: Path, workplace: Path, digit: Path, snnlab: Snnlab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(workplace / "cache"))
    assert snnlab("export", str(digits_run), "--bundle", "one.snn", "--licence", "CC BY 4.0").status == 0
    with zipfile.ZipFile("one.snn") as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    files["config.yaml"] = files["config.yaml"].replace(b"plugins: []", b"plugins: [evil]")
    with zipfile.ZipFile("other.snn", "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    Path("evil.py").write_text("raise SystemExit(7)")
    done = snnlab("predict", "other.snn", str(digit))
    assert done.status == 2
    assert_text_has(done.err, "plugins=[evil]")
    shown = snnlab("show", "other.snn")
    assert shown.status == 2
    assert_text_has(shown.out, "licence", "CC BY 4.0", "test accuracy")
    assert_text_has(shown.err, "other.snn", "plugins=[evil]")
    assert "bundles" not in shown.err


def test_a_damaged_one_is_one_line(workplace: Path, digit: Path, snnlab: Snnlab) -> None:
    Path("bad.snn").write_bytes(b"PK\3\4" + bytes(100))
    done = snnlab("predict", "bad.snn", str(digit))
    assert done.status == 2
    assert_error_has(done.error, "bad.snn")


def test_a_damaged_result_is_one_of_the_bundle(bundle: Path, snnlab: Snnlab) -> None:
    with zipfile.ZipFile(bundle) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    write_bundle(Path("other.snn"), files | {"result.json": b"{"})
    done = snnlab("evaluate", "other.snn")
    assert done.status == 2
    assert_text_has(done.err, "other.snn/result.json")
    assert not [word for word in ("bundles", "resume") if word in done.err]


def test_a_training_cannot_go_on_in_it(bundle: Path, snnlab: Snnlab) -> None:
    done = snnlab("train", f"resume={bundle}")
    assert done.status == 2
    assert_error_has(done.error, "resume", bundle, f"init_from={bundle}")
