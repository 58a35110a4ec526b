"""Two processes of one training, as Lightning starts them: each recording in one of them."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """
    import json, sys
    sys.path[:0] = [sys.argv[1], sys.argv[1] + "/tests/data"]
    from pathlib import Path
    import lightning as L
    import numpy as np
    import torch
    from conftest import TinySource
    from snnlab.data.data_module import EventDataModule
    from snnlab.data.data_settings import DataSettings
    from snnlab.data.splits import Split
    from snnlab.data.events import open_or_build

    class Watcher(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(20, 1)
            self.seen = {"train": [], "val": []}

        def training_step(self, batch, batch_idx):
            self.seen["train"].append([self.current_epoch, batch.index.tolist()])
            return self.layer(batch.x[0, :, 0].flatten(1)).sum()

        def validation_step(self, batch, batch_idx):
            self.seen["val"].append([self.current_epoch, batch.index.tolist()])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.01)

        def on_fit_end(self):
            (folder / f"{self.global_rank}.json").write_text(json.dumps(self.seen))

    folder, places = Path(sys.argv[2]), np.arange(20)
    store = open_or_build(TinySource((5, 4, 2)), folder / "stores")
    split = Split(places[places % 5 > 1], places[places % 5 == 1][:3], places[places % 5 == 0][:3], "by hand")
    settings = DataSettings((5, 4, 2), 4, 1.0, 5, batch_size=4)
    trainer = L.Trainer(
        accelerator="cpu", devices=2, strategy="ddp_fork", max_epochs=2, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=folder,
    )
    trainer.fit(Watcher(), datamodule=EventDataModule(store, split, settings, seed=3))
    """


@pytest.mark.skipif(sys.platform == "win32", reason="Lightning forks the processes of this test")
def test_two_processes_share_every_epoch_and_evaluate_each_recording_once(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(CODE), str(ROOT), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    orders = []
    for epoch in range(2):
        parts = [[batch for at, batch in rank["train"] if at == epoch] for rank in ranks]
        assert [len(batch) for batch in parts[0]] == [len(batch) for batch in parts[1]] == [4, 2]
        orders.append([place for part in parts for batch in part for place in batch])
        assert sorted(orders[-1]) == [place for place in range(20) if place % 5 > 1]
        assert [[batch for at, batch in rank["val"] if at == epoch] for rank in ranks] == [[[1, 11]], [[6]]]
    assert orders[0] != orders[1]
