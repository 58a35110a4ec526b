"""An exported network on an emulated Cortex-M7 has the bits that it has here; its code and stack are small."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from snnlab import load
from snnlab.data.formats import ReadOptions, read_file
from snnlab.interop.c99.c_folder import files_of, sizes
from snnlab.interop.c99.c_network import c_network
from snnlab.nn.integer_targets import INTEGER_TARGETS
from snnlab.nn.network_form import NetworkForm, network_form
from snnlab.nn.quantization import quantize_network
from snnlab.step_events import columns_of

from .forms import NETWORKS, form_of, of_frames, recorded, sensor
from .test_brf_networks import composed, first_frames

BOARD = Path(__file__).with_name("cortex_m")
CC, QEMU = "arm-none-eabi-gcc", "qemu-system-arm"
FLAGS = (
    *("-std=gnu99", "-O2", "-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard"),
    *("-mfpu=fpv5-sp-d16", "--specs=rdimon.specs", "-nostartfiles"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which(CC) and shutil.which(QEMU)),
        reason="needs Debian's gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm",
    ),
]


def replayed(files: dict[str, bytes], folder: Path, *more: str) -> str:
    """Compile a folder for the board, replay its recording there, and return what it prints."""
    for file, content in files.items():
        (folder / file).write_bytes(content)
    sources = ["main.c", "net.c", str(BOARD / "start.c")]
    link = ["-T", str(BOARD / "board.ld"), "-I", ".", *sources, *more, "-o", "net.elf", "-lm"]
    subprocess.run([CC, *FLAGS, *link], cwd=folder, check=True)
    command = [QEMU, "-M", "mps2-an500", "-cpu", "cortex-m7", "-nographic", "-icount", "shift=0"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", "net.elf"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("name", NETWORKS)
def test_the_board_replays_the_recording_with_equal_bits(name: str, tmp_path: Path) -> None:
    layers, in_shape = NETWORKS[name]
    form = form_of(layers, in_shape, 3.0)
    out = replayed(files_of(c_network(form, "net", sensor(form), "random"), form, recorded(form, 0.2, 40)), tmp_path)
    assert "40 steps" in out
    assert ": 0 of " in out


def nmnist(real_data: Path, tmp_path: Path, target: str | None = None) -> tuple[NetworkForm, np.ndarray]:
    """Return the network of conv_lif with steps of 1 ms, and the frames of a recording of N-MNIST."""
    network = load("zoo:saccade_digits", overrides=["data.num_bins=null", "data.dt=1"]).network
    if target is not None:
        quantize_network(network, INTEGER_TARGETS.build(target, {}, "quantize"))
    path = min((real_data / "NMNIST" / "Test" / "3").glob("*.bin"))
    columns = columns_of(read_file(path, ReadOptions(time_origin="zero"), (34, 34, 2)), 34)
    frames = np.zeros((310, 2, 34, 34), np.float32)
    used = columns["t"] < 310_000
    np.add.at(frames, (columns["t"][used] // 1000, *(columns[name][used] for name in "pyx")), 1.0)
    return network_form(network, (2, 34, 34)), frames


def nmnist_int8(real_data: Path, tmp_path: Path) -> tuple[NetworkForm, np.ndarray]:
    """Return the same with the network in whole numbers."""
    return nmnist(real_data, tmp_path, "int8")


def ecg(real_data: Path, tmp_path: Path) -> tuple[NetworkForm, np.ndarray]:
    """Return the published network of 36 resonate-and-fire neurons, and the frames of an electrocardiogram."""
    session = composed("ecg_brf", real_data, real_data / "foreign" / "brf", tmp_path / "store")
    frames = first_frames(session, 1)[:, 0].numpy().astype(np.float32)
    return network_form(session.network.eval(), session.settings.frame_shape), frames.reshape(*frames.shape, 1, 1)


@pytest.mark.parametrize("case", [nmnist, nmnist_int8, ecg])
def test_a_network_replays_a_real_recording_in_little_code_and_stack(case, real_data: Path, tmp_path: Path) -> None:
    form, frames = case(real_data, tmp_path)
    network = c_network(form, "net", sensor(form), case.__name__)
    files = files_of(network, form, of_frames(frames))
    out = replayed(files, tmp_path, str(BOARD / "count.c"), "-Wl,--wrap=net_step")
    assert f"{len(frames)} steps" in out
    assert f": 0 of {len(frames) * np.prod(form.out_shape)} outputs differ" in out
    counted = re.search(r"step: (\d+) in the mean, (\d+) at most", out)
    assert counted is not None
    assert 0 < int(counted[1]) <= int(counted[2])
    found = sizes(network, files, CC, FLAGS[2:6])
    assert found is not None
    code, stack = found
    print(
        case.__name__, out, f"code {code}, stack {stack}, state {network.state_bytes}, weights {network.weight_bytes}"
    )
    assert code < 24_000
    assert stack is not None
    assert stack < 8_000
