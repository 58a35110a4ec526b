"""Make a packaged network, `zoo:NAME`, of a run: its configuration, its result and its weights, without paths.

    python scripts/package_weights.py outputs/nmnist_small/TIME_0 nmnist_small

The card of the network, `card.yaml`, is written by hand.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from snnlab.files import write_json, write_text
from snnlab.runs.public_parts import public_config, public_result
from snnlab.runs.recorded import RunFiles, read_run
from snnlab.runs.run_folder import CONFIG, RESULT, WEIGHTS, config_text, write_trained_on
from snnlab.safe_tensors import write_safe_tensors
from snnlab.session.weights import checkpoint_file
from snnlab.training.checkpoints import network_weights
from snnlab.zoo import FOLDER

MOST_BYTES = 2_000_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="folder of the run")
    parser.add_argument("name", help="name of the network")
    arguments = parser.parse_args()
    package(arguments.run, FOLDER / arguments.name)


def package(run: Path, folder: Path) -> None:
    """Write the files of a packaged network into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = public_config(RunFiles(run).config)
    write_text(folder / CONFIG, config_text(config))
    write_json(folder / RESULT, public_result(read_run(run).content))
    write_safe_tensors(folder / WEIGHTS, network_weights(checkpoint_file(run, "best")))
    if (seen := RunFiles(run).trained_on()) is not None:
        write_trained_on(folder, seen)
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size:>10,}  {path}")
    assert (folder / WEIGHTS).stat().st_size <= MOST_BYTES
    assert str(Path.home()) not in (folder / CONFIG).read_text() + (folder / RESULT).read_text()


if __name__ == "__main__":
    main()
