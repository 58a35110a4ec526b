"""Private parts of other libraries exist, and behave as in the versions that they were checked with."""

from __future__ import annotations

import ast
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning as L
import numpy as np
import pytest
import torch
from numba import njit
from numba.core import config
from torch import Tensor, nn
from torch.autograd import forward_ad

from snnlab import compat, numba_compat

ROOT = Path(__file__).parents[1]
# Files besides `compat` that may use private parts, and why.
ELSEWHERE = {
    "snnlab/numba_compat.py": "numba's, because packing imports no torch",
}
_IMPORT = re.compile(
    r"^\s*(?:(?:from|import) (?!snnlab)[\w.]*(?:\._[a-z]\w*|torch\._C)|from (?!snnlab)[\w.]+ import .*\b_[A-Za-z])",
    re.MULTILINE,
)
_USE = re.compile(
    r"ctypes\.CDLL|torch\._C\b|numba\.[\w.]*\._|_batches_that_stepped|\._conv_forward\b|\._forward_hooks\b"
)


def seen(part: str, name: str) -> str:
    """Return the message of a failure."""
    tested, installed = compat.TESTED_VERSIONS[name], version(name)
    return f"{part} of {name} was tested with {tested}; {installed} differs: see snnlab/compat.py"


def test_no_other_file_uses_private_parts() -> None:
    found = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "snnlab").rglob("*.py")
        if _IMPORT.search(text := path.read_text(encoding="utf-8")) or _USE.search(text)
    }
    assert found - ELSEWHERE.keys() == {"snnlab/compat.py"}


def test_every_part_has_a_test_here() -> None:
    trees = [
        ast.parse((ROOT / "snnlab" / name).read_text(encoding="utf-8")) for name in ("compat.py", "numba_compat.py")
    ]
    names = {node.name for tree in trees for node in tree.body if isinstance(node, ast.FunctionDef)}
    text = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in names if f"compat.{name}" not in text} == set()


@pytest.mark.filterwarnings("ignore:.torch.jit.* is deprecated")
def test_torchs_tracing_tools_are_detected() -> None:
    name, found = seen("how torch's tools are seen", "torch"), list[bool]()

    def look(x: Tensor) -> Tensor:
        found.append(compat.traced_by_torch())
        return x + 1.0

    look(torch.ones(2))
    assert found == [False], name
    torch.func.vmap(look)(torch.ones(2))
    torch.func.grad(lambda x: look(x).sum())(torch.ones(2))
    with forward_ad.dual_level():
        look(forward_ad.make_dual(torch.ones(2), torch.ones(2)))
    torch.jit.trace(look, (torch.ones(2),), check_trace=False)
    assert found[1:] == [True] * 4, name
    look(torch.ones(2))
    assert not found[-1], name
    assert torch.compile(lambda x: x + compat.traced_by_torch(), backend="eager")(torch.ones(1)) == 2.0, name


def test_a_batch_of_gradients_is_detected_in_the_backward_pass() -> None:
    found: list[bool] = []
    x = torch.ones(2, requires_grad=True)
    y = x * 2.0
    y.register_hook(lambda grad: found.append(compat.in_transform(None, grad)))
    torch.autograd.grad(y, x, torch.ones(2), retain_graph=True)
    torch.autograd.grad(y, x, torch.eye(2), is_grads_batched=True, retain_graph=True)
    torch.func.vmap(lambda one: torch.autograd.grad(y, x, one, retain_graph=True)[0])(torch.eye(2))
    assert found == [False, True, True], seen("how a batch of gradients is seen", "torch")


def test_hooks_of_a_layer_and_global_hooks_are_detected() -> None:
    layer, name = nn.Linear(1, 1), seen("where hooks are kept", "torch")
    assert compat.has_no_hooks(layer), name
    registers = (
        layer.register_forward_hook,
        layer.register_forward_pre_hook,
        layer.register_full_backward_hook,
        layer.register_full_backward_pre_hook,
        nn.modules.module.register_module_forward_hook,
    )
    for register in registers:
        handle = register(lambda *_: None)
        assert not compat.has_no_hooks(layer), name
        handle.remove()
        assert compat.has_no_hooks(layer), name


def test_a_convolution_pads_in_its_own_way_without_its_hooks() -> None:
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular", bias=False)
    x = torch.rand(1, 1, 4, 4)
    expected = layer(x)
    layer.register_forward_hook(lambda *_: pytest.fail("a hook was called"))
    assert torch.equal(compat.convolve(layer, x, layer.weight), expected), seen("_conv_forward", "torch")


def test_classes_are_bases_of_those_of_each_dimension() -> None:
    for dims in (1, 2, 3):
        assert issubclass(getattr(nn, f"Conv{dims}d"), compat.ConvNd), seen("_ConvNd", "torch")
        assert issubclass(getattr(nn, f"ConvTranspose{dims}d"), compat.ConvTransposeNd), seen(
            "_ConvTransposeNd", "torch"
        )
        assert issubclass(getattr(nn, f"BatchNorm{dims}d"), compat.BatchNormNd), seen("_BatchNorm", "torch")


def test_operations_go_through_a_dispatch_mode() -> None:
    class Names(compat.TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()
            self.made: list[Tensor] = []

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            made = func(*args, **(kwargs or {}))
            self.made += [part for part in compat.tree_iter(made) if isinstance(part, Tensor)]
            return made

    with Names() as names:
        torch.ones(3).max(0)
    assert [tuple(made.shape) for made in names.made][-2:] == [(), ()], seen("TorchDispatchMode", "torch")


@pytest.mark.parametrize("kept", [True, False])
def test_a_retained_graph_is_detected_in_its_backward_pass(kept: bool) -> None:
    said: list[bool] = []
    x = torch.ones(1, requires_grad=True)
    y = x * 2
    y.register_hook(lambda _: said.append(compat.graph_is_kept()))
    y.backward(retain_graph=kept)
    assert said == [kept], seen("_get_current_graph_task_keep_graph", "torch")


def test_the_openmp_library_of_torch_takes_tasks() -> None:
    if platform.system() != "Linux":
        pytest.skip("torch's threads are of another library here")
    assert compat.openmp() is not None, seen("libgomp", "torch")
    calls: list[tuple[int, int]] = []
    assert compat.run_in_openmp(lambda n, of: calls.append((n, of)), 2)
    assert sorted(calls) == [(0, 2), (1, 2)], seen("GOMP_parallel", "torch")


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="there is no such setting in other C libraries")
def test_glibc_can_be_set_to_keep_memory() -> None:
    assert compat.keep_freed_memory()  # tests/test_heap.py counts that it does


def test_lightning_counts_the_steps_of_loggers() -> None:
    trainer = L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, barebones=False)
    assert compat.batches_that_stepped(trainer) == 0, seen(compat.STEP_COUNT_KEY, "lightning")
    assert compat.STEP_COUNT_KEY in trainer.fit_loop.state_dict()["epoch_loop.state_dict"], seen(
        compat.STEP_COUNT_KEY, "lightning"
    )


def _add(x, y, n):
    for k in range(n):
        y[k] += x[k]


def test_llvm_assumes_that_arrays_share_no_memory() -> None:
    made = njit(pipeline_class=numba_compat.NoAlias)(_add)
    x = np.ones(3, np.float32)
    made(x, x.copy(), 3)
    plain = njit(_add)
    plain(x, x.copy(), 3)
    (with_aliases,), (without_aliases,) = made.inspect_llvm().values(), plain.inspect_llvm().values()
    # Without it, a check whether the two overlap guards the loop.
    assert "memcheck" not in with_aliases
    assert "memcheck" in without_aliases


def test_a_function_of_numba_has_our_file_as_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "CACHE_DIR", str(tmp_path))
    name = seen("how a cache is attached", "numba")

    forms: dict[Any, Any] = {}
    stamps: list[Any] = []
    file: Any = SimpleNamespace(load=forms.get, save=forms.__setitem__)

    def open_file(path: Path, stamp: Any) -> Any:
        stamps.append(stamp)
        assert path.is_relative_to(tmp_path), name
        return file

    hits = []
    for _ in range(2):
        loop: Any = njit(_add)
        assert numba_compat.set_disk_cache(loop, open_file)
        loop(np.ones(3), np.ones(3), 3)
        hits.append((sum(loop.stats.cache_hits.values()), sum(loop.stats.cache_misses.values())))
    assert (hits, len(forms), len({*map(repr, stamps)})) == ([(0, 1), (1, 0)], 1, 1), name


def test_numba_compiles_where_its_switch_forbade_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "DISABLE_JIT", 1)
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")
    assert njit(_add) is _add, seen("DISABLE_JIT", "numba")
    numba_compat.require_compiler()
    assert njit(_add) is not _add, seen("DISABLE_JIT", "numba")
    config.reload_config()
    assert njit(_add) is not _add, seen("DISABLE_JIT", "numba")


@pytest.mark.parametrize(("real", "whole"), [(np.float32, np.int32), (np.float64, np.int64)])
def test_the_bits_of_an_integer_are_a_float(real: type, whole: type) -> None:
    bits = np.array([-1.5], real).view(whole)[0]
    as_float: Any = numba_compat.as_float  # of a context and bits for pyright
    assert njit(lambda bits: as_float(bits))(bits) == -1.5


@pytest.mark.long
def test_onnx_runtime_collects_no_data_in_a_training(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", exc_type=ImportError)
    code = "import snnlab.training.metrics, sys; sys.exit('onnxruntime' not in sys.modules)"
    for chosen in ({}, {"ORT_DISABLE_TELEMETRY": "0"}):
        folder = tmp_path / str(len(chosen))
        folder.mkdir()
        # It collects nothing in a CI either.
        env = {name: value for name, value in os.environ.items() if name not in ("ORT_DISABLE_TELEMETRY", "CI")}
        done = subprocess.run([sys.executable, "-c", code], env={**env, "TMPDIR": str(folder), **chosen})
        if done.returncode:
            pytest.skip("torchmetrics does not import it here")
        assert (folder / ".ses").exists() == bool(chosen), seen("ORT_DISABLE_TELEMETRY", "onnxruntime")
