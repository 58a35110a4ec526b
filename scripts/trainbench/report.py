"""The two tables and the figure."""

from __future__ import annotations

from itertools import accumulate
from statistics import median
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

GOAL = 0.9  # of the bare step's speed
COLOURS = {"snnlab": "tab:blue", "spikingjelly": "tab:orange"}


def speed_table(experiments: dict[str, Any]) -> str:
    """Return samples a second in Markdown: in whole trainings and in bare steps."""
    lines = [
        "\n| experiment | bare steps, samples/s | snnlab train, samples/s | ratio | first epoch | goal |",
        "|---|---:|---:|---:|---:|---|",
    ]
    for name, found in experiments.items():
        size = found["speed"][0]["selection"]["train_size"]
        bare, run = (size / median(seconds(found, key)) for key in ("bare_s", "train_s"))
        first = median(round["epochs"][0]["train_s"] for round in found["speed"])
        ratio = median(ratios(found))
        lines.append(
            f"| {name} | {bare:,.0f} | {run:,.0f} | {ratio:.3f} | {first:.1f} s | {verdict(ratio >= GOAL)} {GOAL} |"
        )
    return "\n".join([*lines, "\nMedians of the epochs after the first, which includes loading and compiling."])


def seconds(found: dict[str, Any], key: str) -> list[float]:
    """Return the seconds of the epochs after the first, or of the only one."""
    return [epoch[key] for round in found["speed"] for epoch in round["epochs"][1:] or round["epochs"]]


def ratios(found: dict[str, Any]) -> list[float]:
    """Return for each of these epochs the training's speed relative to that of the bare steps."""
    return [bare / run for bare, run in zip(seconds(found, "bare_s"), seconds(found, "train_s"), strict=True)]


def accuracy_table(experiments: dict[str, Any]) -> str:
    """Return the seconds to the accuracy in Markdown."""
    lines = [
        "\n| experiment | validation accuracy | seed | method | training, s | with validation, s | epochs"
        " | in the end | whole command, s | goal |",
        "|---|---:|---:|---|---:|---:|---:|---:|---:|---|",
    ]
    for name, found in experiments.items():
        for of_seed in found["accuracy"]:
            for method in (method for method in COLOURS if method in of_seed):
                epochs = of_seed[method]["epochs"]
                reached = until(epochs, found["target"])
                words = " | ".join(
                    ["-"] * 3 if reached is None else [f"{s:.1f}" for s in reached[:2]] + [f"{reached[2]}"]
                )
                goal = ""
                if method == "snnlab":
                    goal = f"{verdict(reached is not None and reached[0] < found['goal_s'])} {found['goal_s']:g} s"
                lines.append(
                    f"| {name} | {found['target']:.0%} | {of_seed['seed']} | {method} | {words}"
                    f" | {epochs[-1]['val_accuracy']:.1%} | {of_seed[method]['wall_s']:.1f} | {goal} |"
                )
    return "\n".join(lines)


def until(epochs: list[dict[str, Any]], target: float) -> tuple[float, float, int] | None:
    """Return the training and all seconds to the first epoch that reaches the accuracy, and its number, from 1."""
    trained = accumulate(epoch["train_s"] for epoch in epochs)
    for n, (epoch, train_s) in enumerate(zip(epochs, trained, strict=True), 1):
        if epoch["val_accuracy"] >= target:
            return train_s, epoch["elapsed_s"], n
    return None


def verdict(reached: bool) -> str:
    """Return the verdict as a word."""
    return "reached" if reached else "missed"


def draw(experiments: dict[str, Any]) -> Figure:
    """Draw a row for each experiment: the epochs' speeds, and the accuracy over the seconds of training."""
    figure = Figure(figsize=(11, 3.4 * len(experiments)), layout="constrained")
    rows = figure.subplots(len(experiments), 2, squeeze=False)
    for (speeds, accuracies), (name, found) in zip(rows, experiments.items(), strict=True):
        draw_speeds(speeds, found)
        draw_accuracies(accuracies, found)
        for axes, what in ((speeds, "speed"), (accuracies, "validation accuracy")):
            axes.set_title(f"{name}: {what}")
            axes.legend(frameon=False)
            axes.spines[["top", "right"]].set_visible(False)
    return figure


def draw_speeds(axes: Axes, found: dict[str, Any]) -> None:
    """Draw samples a second of each epoch."""
    size = found["speed"][0]["selection"]["train_size"]
    for n, round in enumerate(found["speed"]):
        numbers = range(1, len(round["epochs"]) + 1)
        for key, label, colour in (("bare_s", "bare steps", "0.6"), ("train_s", "snnlab train", COLOURS["snnlab"])):
            speeds = [size / epoch[key] for epoch in round["epochs"]]
            axes.plot(numbers, speeds, color=colour, marker=".", label=None if n else label)
    axes.set(xlabel="epoch", ylabel="samples a second", ylim=(0, None))


def draw_accuracies(axes: Axes, found: dict[str, Any]) -> None:
    """Draw the accuracy of each training over its seconds."""
    for n, of_seed in enumerate(found["accuracy"]):
        for method in (method for method in COLOURS if method in of_seed):
            epochs = of_seed[method]["epochs"]
            trained = list(accumulate(epoch["train_s"] for epoch in epochs))
            reached = [epoch["val_accuracy"] for epoch in epochs]
            axes.plot(trained, reached, color=COLOURS[method], marker=".", label=None if n else method)
    axes.axhline(found["target"], color="0.4", linestyle=":", label=f"target: {found['target']:.0%}")
    axes.set(xlabel="seconds of training", ylim=(None, 1))
