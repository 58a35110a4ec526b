from __future__ import annotations

import numpy as np

from snnlab.runs.predictions import prediction_metrics

NAMES = ["a", "b", "c"]


def test_classes_are_counted_by_their_last_answer_and_over_time() -> None:
    found = prediction_metrics(np.array([0, 2, 2]), np.eye(3)[[0, 1, 2]], np.array([[0, 0], [2, 1], [0, 2]]), NAMES)
    assert found["accuracy_of_class"] == {"a": [1, 1], "b": [0, 0], "c": [1, 2]}
    assert found["confusion"] == [[1, 0, 0], [0, 0, 0], [0, 1, 1]]
    np.testing.assert_allclose(found["accuracy_over_time"], [2 / 3, 2 / 3])


def test_only_steps_with_labels_are_counted() -> None:
    targets, answers = np.array([[0, 1, -100], [0, -100, -100]]), np.array([[0, 2, 1], [1, 1, 0]])
    found = prediction_metrics(targets, np.eye(3)[answers], answers, NAMES)
    assert found["accuracy_of_class"] == {"a": [1, 2], "b": [0, 1], "c": [0, 0]}
    np.testing.assert_array_equal(found["accuracy_over_time"], [0.5, 0.0, np.nan])


def test_each_value_has_an_error_over_time() -> None:
    targets = np.array([[1.0, 10.0], [2.0, 20.0]], np.float32)
    answers = np.stack([np.zeros_like(targets), targets + 1], 1)
    found = prediction_metrics(targets, answers[:, -1], answers, ["x", "y"])
    assert found == {"error_over_time": {"x": [1.5, 1.0], "y": [15.0, 1.0]}}
