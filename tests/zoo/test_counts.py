"""The zoo's networks have the published numbers of parameters."""

from __future__ import annotations

import pytest

from ..marks import mostly_long
from .networks import NETWORKS, SIZES, count


@pytest.mark.parametrize("name", mostly_long(list(NETWORKS), 4))
def test_it_has_the_published_number_of_parameters(name: str) -> None:
    assert count(NETWORKS[name].build(size=SIZES.get(name)).network) == NETWORKS[name].parameters
