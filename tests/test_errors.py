"""An error has its facts as fields, and builds its text from them."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path

import pytest

from snnlab import errors
from snnlab.errors import ConfigError, DamagedError, DataError, RunFolderError, SnnlabError, UnknownSettingError

ERRORS: dict[str, SnnlabError] = {
    "plain": ConfigError("model.layers.lif1", "does not fit", "add a flatten layer", ["a", "b"]),
    "unknown setting": UnknownSettingError("model.layers.lif1", "taumem", "Did you mean 'tau_mem'?"),
    "damaged": DamagedError(Path("run/result.json"), "truncated", "train again"),
    "located": DataError("data.root", "is empty").with_fields(origin=(Path("mine.yaml"), 3)),
}


def test_a_place_within_a_whole_and_a_part_that_names_none() -> None:
    inner = UnknownSettingError("surrogate", "wdith")
    outer = inner.within("model.layers.lif1")
    assert (outer.place, outer.key, outer.message) == (
        "model.layers.lif1.surrogate",
        f"{outer.place}.wdith",
        inner.message,
    )
    assert inner.place == "surrogate"
    assert ConfigError("", "too small").within("model.init").place == "model.init"
    assert UnknownSettingError("config", "sead").key == "sead"


def test_of_a_run_that_is_named_already_the_file_is_left() -> None:
    run = Path("outputs") / "a"
    assert DamagedError(run / "result.json", "cut", "").of(run).place == "result.json"
    assert RunFolderError(run, "is no run").of(run).place == ""


@pytest.mark.parametrize("how", ["pickle", "copy"])
@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
def test_it_goes_whole_to_another_process(error: SnnlabError, how: str) -> None:
    again = pickle.loads(pickle.dumps(error)) if how == "pickle" else copy.copy(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_the_tree_of_the_page_names_every_error_and_no_other():
    defined = {name for name, one in vars(errors).items() if isinstance(one, type) and issubclass(one, BaseException)}
    stated = set(re.findall(r"^ *(?:[│├└─]+ *)*([A-Z]\w+)  ", errors.__doc__ or "", re.MULTILINE))
    assert defined == stated | {"SnnlabError"}
