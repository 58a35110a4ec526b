"""What a training costs beyond its bare steps: loading, frames, metrics, logging, Lightning.

    python scripts/bench_overhead.py [overrides ...]

Rounds alternate between bare steps (forward, loss, backward, optimizer on a batch of frames that is there already)
and an epoch of `snnlab train`; the ratio of the medians is printed. It says nothing if the weights after one epoch
are not those of the bare loop.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path

import torch

from snnlab import train
from snnlab.config import assemble
from snnlab.config.composing import compose_once
from snnlab.seeds import Stream, derived_seed

ROUNDS = 5


def bare_epoch(overrides: list[str]) -> tuple[float, dict[str, torch.Tensor]]:
    """Train one epoch on frames made beforehand; return seconds a step and the weights."""
    experiment, _ = compose_once(overrides, None)
    settings = assemble.data_settings(experiment)
    built = assemble.network(experiment, settings)
    loss = assemble.loss(experiment)
    make_optimizer, _ = assemble.optimizer(experiment, built)
    data = assemble.data_module(experiment, settings, assemble.store(assemble.dataset(experiment), settings))
    batches = [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    network = built.network.train()
    optimizer = make_optimizer(network.parameters())
    started = time.perf_counter()
    for step, batch in enumerate(batches):
        torch.manual_seed(derived_seed(experiment.seed, Stream.DROPOUT, step, step))
        optimizer.zero_grad()
        y, _ = network(batch.x, lengths=batch.lengths)
        value, _ = loss(y, batch.targets, batch.lengths, {})
        value.backward()
        optimizer.step()
    return (time.perf_counter() - started) / len(batches), network.state_dict()


def trained_epoch(overrides: list[str], folder: str) -> tuple[float, dict[str, torch.Tensor]]:
    """Train one epoch as users do; return seconds a step and the weights."""
    result = train(*overrides, f"output_dir={folder}", "test=false")
    steps = -(-result.selection["train_size"] // compose_once(overrides, None)[0].data["batch_size"])
    state = torch.load(result.folder / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    weights = {k.removeprefix("network."): v for k, v in state.items() if k.startswith("network.")}
    return result.selection["train_size"] / result.timing["samples_per_s"] / steps, weights


def main() -> None:
    """Print the median step of both and their ratio."""
    overrides = ["trainer.max_epochs=1", "trainer.accelerator=cpu", *sys.argv[1:]]
    bare, trained = [], []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(ROUNDS):
            seconds, expected = bare_epoch(overrides)
            bare.append(seconds)
            seconds, found = trained_epoch(overrides, str(Path(folder)))
            trained.append(seconds)
            if any(not torch.equal(expected[key], found[key]) for key in expected):
                sys.exit("the two did not train the same network: no figures")
    ratio = statistics.median(t / b for t, b in zip(trained, bare, strict=True))
    print(
        f"bare step {1e3 * statistics.median(bare):.1f} ms, in snnlab train {1e3 * statistics.median(trained):.1f} ms"
    )
    print(f"ratio {ratio:.3f} (median of {ROUNDS} pairs), {torch.get_num_threads()} threads, torch {torch.__version__}")


if __name__ == "__main__":
    main()
