"""The forms of a run's files: which content of `result.json`, `split.json` and `predictions.npz` is valid."""

from __future__ import annotations

from collections.abc import Mapping
from sys import float_info
from typing import Any

import numpy as np

_NUMBER, _NONE = (int, float), (type(None),)
# The types of the values of result.json by dotted key, and the keys that must exist.
_TYPES: Mapping[str, tuple[type, ...]] = {
    "status": (str,),
    "seed": (int,),
    "name": (str, *_NONE),
    "metrics": (dict,),
    "selection": (dict, *_NONE),
    "selection.rule": (str,),
    "selection.val_rule": (str,),
    "selection.epoch": (int, *_NONE),
    **dict.fromkeys(("selection.epochs", *(f"selection.{part}_size" for part in ("train", "val", "test"))), (int,)),
    "timing": (dict, *_NONE),
    **{f"timing.{key}": (*_NUMBER, *_NONE) for key in ("fit_s", "samples_per_s", "peak_rss_mb", "peak_device_mb")},
    "provenance": (dict,),
    "provenance.packages": (dict,),
    "provenance.numerics": (dict,),
    "provenance.data_fingerprint": (str,),
    "provenance.split_hash": (str,),
    "resumed": (list, *_NONE),
    "control": (str, *_NONE),
    "search": (dict, *_NONE),
    "error": (str, *_NONE),
}
_COMMIT: Mapping[str, Any] = {"commit": str}
# Parts whose values may be null or missing.
_FORMS: Mapping[str, Any] = {
    "provenance": {
        **{"git": _COMMIT, "working_folder": _COMMIT, "python": str, "packages": {"": str}, "device": str},
        **{"threads": int, "processes": {"": int}},
        "numerics": dict.fromkeys(("default_dtype", "float32_matmul_precision", "backend"), str),
    },
    "search": {"trials": int, "val_size": int},
    "weights": {"": str},
}
_REQUIRED = ("status", "seed", "metrics", "provenance")
_TYPE_NAMES = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number", float: "a number"}
_STAGES = ("val", "test")


def result_error(content: Mapping[str, Any]) -> str | None:
    """Return the error in a `result.json` as text, or None."""
    if missing := [key for key in _REQUIRED if key not in content]:
        return f"{missing[0]} is missing"
    for key, types in _TYPES.items():
        part, _, name = key.rpartition(".")
        node = content.get(part) or {} if part else content
        if name in node and not _has_type(node[name], types):
            return f"{key} is not {_TYPE_NAMES[types[0]]}"
    numbers = (*_NUMBER, *_NONE)
    if invalid := [name for name, value in content["metrics"].items() if not _has_type(value, numbers)]:
        return f"metrics.{invalid[0]} is not a number"
    if other := [name for name, form in _FORMS.items() if not has_form(content.get(name), form)]:
        return f"{other[0]} has a value of another form"
    entries = content.get("resumed") or []
    if not all(isinstance(entry, dict) and isinstance(entry.get("epoch"), int) for entry in entries):
        return "resumed is not a list of entries with an epoch"
    return None


def has_form(value: Any, form: Any) -> bool:
    """Return whether a value is null or has a form.

    Numbers must be finite, as null is written for others. A mapping may have more keys than its form.

    Args:
        form: A type, or several; float includes whole numbers. `[form]`: a list of such values. `{name: form}`: a
            mapping with such values; the name "" stands for all of them, which must not be null then.
    """
    if value is None:
        return True
    if isinstance(form, list):
        return isinstance(value, list) and all(has_form(each, form[0]) for each in value)
    if isinstance(form, dict):
        if not isinstance(value, dict):
            return False
        if "" in form:
            return all(each is not None and has_form(each, form[""]) for each in value.values())
        return all(has_form(value.get(key), of) for key, of in form.items())
    types = form if isinstance(form, tuple) else (form,)
    if isinstance(value, bool):
        return bool in types
    if isinstance(value, int | float) and not abs(value) <= float_info.max:
        return False
    return isinstance(value, (*types, int) if float in types else types)


def _has_type(value: Any, types: tuple[type, ...]) -> bool:
    return type(None) in types if value is None else has_form(value, types)


def split_error(content: Any) -> str | None:
    """Return the error in a `split.json` as text, or None."""
    parts = content if isinstance(content, dict) else {}
    if not all(isinstance(parts.get(part), list) for part in ("train", "val", "test")):
        return "the lists train, val and test are missing"
    names = parts.get("classes") or []
    return None if has_form(names, [str]) and None not in names else "classes is not a list of names"


def arrays_error(arrays: Mapping[str, np.ndarray]) -> str | None:
    """Return the error in the arrays of a `predictions.npz` as text, or None."""
    for stage in _STAGES:
        of_stage = {name: values for name, values in arrays.items() if name.startswith(f"{stage}_")}
        if not of_stage:
            continue
        outputs = "answer" if f"{stage}_answer" in of_stage else "readout"
        if missing := [name for name in ("recording", "target", outputs) if f"{stage}_{name}" not in of_stage]:
            return f"{stage}_{missing[0]} is missing"
        if len({values.shape[:1] for values in of_stage.values()}) > 1:
            return f"the arrays of {stage} have different lengths"
        if outputs == "answer":  # of a published run, which has no outputs
            if any(of_stage[f"{stage}_{name}"].dtype.kind not in "iuf" for name in ("target", "answer")):
                return f"the arrays of {stage} are not answers of a network"
            continue
        target, readout = of_stage[f"{stage}_target"], of_stage[f"{stage}_readout"]
        answers = of_stage.get(f"{stage}_answers", target)
        if any(values.dtype.kind not in "iuf" for values in (target, readout, answers)) or readout.ndim < 2:
            return f"the arrays of {stage} are not outputs of a network"
        if target.ndim == 1 and not all(_are_valid_classes(values, readout.shape[-1]) for values in (target, answers)):
            return f"the classes of {stage} are not among the network's {readout.shape[-1]}"
    return None


def _are_valid_classes(values: np.ndarray, number: int) -> bool:
    return values.dtype.kind in "iu" and (not values.size or 0 <= values.min() <= values.max() < number)
