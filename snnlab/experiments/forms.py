"""The forms of values in suites and their records."""

from __future__ import annotations

from sys import float_info
from typing import Any


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
