"""Norse's introduction with snnlab: a network from YAML, its output after one step and after 32, one training step.

    python scripts/norse_intro.py [--folder FOLDER] [--seed N] [overrides ...]

The network is the model of `experiment=norse_intro`; overrides are those of `snnlab train`, such as
neuron.surrogate.alpha=1. The plots are written to FOLDER, outputs/norse_intro by default.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")  # writes files, also on machines without a screen

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from snnlab.analysis.findings import delay_notes
from snnlab.analysis.layer_statistics import measure
from snnlab.config.compose import compose_experiment
from snnlab.nn import Network, build_network
from snnlab.nn.encoders import ConstantCurrent

STEPS = 32
IMAGE = (3, 28, 28)
DT = 1.0  # ms, Norse's own


class Lesson(NamedTuple):
    """The data and results of the introduction.

    Attributes:
        data: The images, `[8, 3, 28, 28]`.
        network: The network.
        first: Its output after one step, `[8, 10]`.
        before: Its output at each of 32 steps, `[32, 8, 10]`.
        gradients: Norm of the gradient of each weight, by name.
        after: The output at each step after one step of RMSprop, `[32, 8, 10]`.
    """

    data: Tensor
    network: Network
    first: Tensor
    before: Tensor
    gradients: dict[str, float]
    after: Tensor


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("outputs/norse_intro"), help="folder of the plots")
    parser.add_argument("--seed", type=int, default=0, help="seed of images and weights")
    parser.add_argument("overrides", nargs="*", help="as for snnlab train")
    given = parser.parse_args()
    lesson = run_lesson(given.seed, given.overrides)
    given.folder.mkdir(parents=True, exist_ok=True)
    draw(lesson, given.folder)
    print(f"plots in {given.folder}")


def run_lesson(seed: int = 0, overrides: list[str] | None = None) -> Lesson:
    """Run the introduction; print its results and return them."""
    torch.manual_seed(seed)
    data = torch.randn(8, *IMAGE)
    network = build(overrides or [])
    print(network)

    y, state = network(data[None])
    first = y[0].detach()
    print(f"\nafter 1 step the output is {list(first.shape)}, and " + ("silent" if not first.any() else "active"))
    for name, of_layer in state.items():
        print(f"  the state of {name}: " + ", ".join(f"{k} {list(v.shape)}" for k, v in of_layer._asdict().items()))

    shown = ConstantCurrent()(data, STEPS)
    y, _ = network(shown)
    active = y.detach().flatten(1).any(1).nonzero()
    since = f"from step {int(active[0])} on, counted from 0" if len(active) else "never"
    print(f"shown for {STEPS} steps it is active {since}; its last output sums to {y[-1].sum().item():.5f}")
    print_delay(network, shown)

    optimizer = torch.optim.RMSprop(network.parameters())
    (1 - y[-1].sum()).backward()
    gradients = {name: float(p.grad.norm()) for name, p in network.named_parameters() if p.grad is not None}
    optimizer.step()
    with torch.no_grad():
        after, _ = network(shown)
    print(f"after one step of RMSprop towards 1 it sums to {after[-1].sum().item():.5f}")
    return Lesson(data, network, first, y.detach(), gradients, after)


def print_delay(network: Network, shown: Tensor) -> None:
    """Print the cause of the output's delay, as `snnlab doctor` reports it."""
    lengths = torch.full((shown.shape[1],), STEPS)
    statistics = measure(network, shown, lengths, lambda y, _: 1 - y[-1].sum(), dt=DT)
    network.zero_grad()
    for note in delay_notes(statistics):
        print(f"  {note}")


def build(overrides: list[str]) -> Network:
    """Build the network of the experiment's model, with torch's current random state."""
    experiment, _ = compose_experiment(["experiment=norse_intro", *overrides], None)
    return build_network(experiment.model["layers"], in_shape=IMAGE, dt=DT).network


def draw(lesson: Lesson, folder: Path) -> None:
    """Draw the first image, and its outputs before and after the training step."""
    figure, axis = plt.subplots(figsize=(3, 3), layout="constrained")
    axis.imshow(lesson.data[0].permute(1, 2, 0).clip(0, 1))
    axis.set_title("the first image")
    figure.savefig(folder / "image.png", dpi=120)

    figure, axes = plt.subplots(2, 3, figsize=(12, 6), layout="constrained")
    columns = ("after 1 step", f"after {STEPS} steps", "after a step of RMSprop")
    last = (lesson.first, lesson.before[-1], lesson.after[-1])
    over_time = (lesson.first[None], lesson.before, lesson.after)
    for above, below, title, y, ys in zip(*axes, columns, last, over_time, strict=True):
        above.plot(range(10), y[0], marker="o")
        above.set(title=title, xlabel="class", ylabel="output of the first image", xticks=range(10))
        below.plot(range(len(ys)), ys[:, 0], marker="." if len(ys) == 1 else None)
        below.set(xlabel="step, counted from 0", ylabel="its 10 outputs", xlim=(-1, STEPS))
    figure.savefig(folder / "outputs.png", dpi=120)
    plt.close("all")


if __name__ == "__main__":
    main()
