"""A node becomes the dataclass that describes it, with the place of each mistake."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from snnlab.errors import ConfigError
from snnlab.spec.interval import Count, above
from snnlab.spec.nodes import load

from ..refusals import assert_raises


@dataclass(frozen=True)
class Leaf:
    width: Annotated[float, "ms", above(0)]
    times: Count = 1


@dataclass(frozen=True)
class Tree:
    name: str
    first: Leaf | None = None
    others: Sequence[Leaf] = ()
    free: Mapping[str, Any] | Leaf | None = None


def test_nodes_become_instances_and_null_stays():
    node = {"name": "a", "first": {"width": 2.0}, "others": [{"width": 1}, {"width": 3}]}
    assert load(Tree, node, "tree", "a tree") == Tree("a", Leaf(2.0), (Leaf(1), Leaf(3)))
    assert load(Tree, {"name": "a", "first": None, "free": {"x": 1}}, "tree", "a tree") == Tree("a", free={"x": 1})


@pytest.mark.parametrize(
    ("node", "place"),
    [
        ({"name": "a", "first": {"width": 0}}, "tree.first.width"),
        ({"name": "a", "first": {"width": 1, "tims": 2}}, "tree.first.tims"),
        ({"name": "a", "first": {}}, "tree.first"),
        ({"name": "a", "first": 3}, "tree.first"),
        ({"name": "a", "others": [{"width": 1}, {"width": -1}]}, "tree.others.1.width"),
        ({"name": "a", "others": {"width": 1}}, "tree.others"),
        ({"first": {"width": 1}}, "tree"),
    ],
)
def test_a_mistake_has_the_place_of_its_leaf(node: Mapping[str, Any], place: str):
    with pytest.raises(ConfigError) as caught:
        load(Tree, node, "tree", "a tree")
    assert caught.value.key == place


def test_a_node_that_is_none_is_described():
    with assert_raises(ConfigError, "tree.first", "mapping", "null", 3):
        load(Tree, {"name": "a", "first": 3}, "tree", "a tree")
