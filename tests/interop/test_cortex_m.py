"""An exported network on an emulated Cortex-M7 has the bits that it has here; its code and stack are small."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from snnlab.interop.c99.c_folder import files_of, sizes
from snnlab.interop.c99.c_network import c_network

from .test_c99 import NETWORKS, form_of, recorded, sensor

BOARD = Path(__file__).with_name("cortex_m")
CC, QEMU = "arm-none-eabi-gcc", "qemu-system-arm"
FLAGS = (
    *("-std=gnu99", "-O2", "-ffp-contract=off", "-mcpu=cortex-m7", "-mthumb", "-mfloat-abi=hard"),
    *("-mfpu=fpv5-sp-d16", "--specs=rdimon.specs", "-nostartfiles"),
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which(CC) and shutil.which(QEMU)),
        reason="needs Debian's gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm",
    ),
]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_board_replays_the_recording_with_equal_bits(name: str, tmp_path: Path) -> None:
    layers, in_shape = NETWORKS[name]
    form = form_of(layers, in_shape, 3.0)
    files = files_of(c_network(form, "net", sensor(form), "random"), form, recorded(form, 0.2, 40))
    for file, content in files.items():
        (tmp_path / file).write_bytes(content)
    sources = ["main.c", "net.c", str(BOARD / "start.c")]
    subprocess.run(
        [CC, *FLAGS, "-T", str(BOARD / "board.ld"), *sources, "-o", "net.elf", "-lm"], cwd=tmp_path, check=True
    )
    command = [QEMU, "-M", "mps2-an500", "-cpu", "cortex-m7", "-nographic"]
    command += ["-semihosting-config", "enable=on,target=native", "-kernel", "net.elf"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "40 steps" in done.stdout
    assert ": 0 of " in done.stdout


def test_code_and_stack_stay_small() -> None:
    layers, in_shape = NETWORKS["pooling"]
    form = form_of(layers, in_shape, 3.0)
    network = c_network(form, "net", sensor(form), "random")
    found = sizes(network, files_of(network, form, recorded(form, 0.2, 2)), CC, FLAGS[2:7])
    assert found is not None
    code, stack = found
    assert code < 24_000
    assert stack is not None
    assert stack < 8_000
