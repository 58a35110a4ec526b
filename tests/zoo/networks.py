"""The zoo's networks, with the published numbers of their parameters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from snnlab.config.compose import compose_experiment
from snnlab.data.data_settings import read_settings
from snnlab.nn.network import BuiltNetwork, build_network


class ZooNetwork(NamedTuple):
    """A network of the zoo.

    Attributes:
        words: Its experiment.
        parameters: Published number of trainable parameters.
        in_shape: Shape of one sample at one step; None: that of the data.
    """

    words: Sequence[str]
    parameters: int
    in_shape: tuple[int, ...] | None = None

    def build(self, *more: str, size: int | None = None) -> BuiltNetwork:
        """Build it, with more settings, for frames of another size."""
        experiment, _ = compose_experiment([*self.words, *more], None)
        settings = read_settings(experiment.data)[0]
        shape = self.in_shape or settings.frame_shape
        return build_network(
            experiment.model["layers"],
            in_shape=shape if size is None else (shape[0], size, size),
            dt=settings.step_ms,
        )


def of(data: str, *words: str) -> list[str]:
    return [f"data={data}", "data.root=FOLDER", *words]


COLOURS = (3, 224, 224)
IMAGENET = ("data.num_classes=1000",)
NETWORKS = {
    "plif_conv2": ZooNetwork(of("nmnist", "model=plif_conv2"), 17_132_292),
    "plif_conv4": ZooNetwork(of("cifar10dvs", "model=plif_conv4"), 17_427_718),
    "plif_conv5": ZooNetwork(of("dvsgesture", "model=plif_conv5"), 1_698_311),
    "dvsgesture_net": ZooNetwork(of("dvsgesture", "model=dvsgesture_net"), 1_698_926),
    "sew_gesture": ZooNetwork(of("dvsgesture", "model=sew_gesture"), 130_426),
    "sew_resnet18": ZooNetwork(("model=sew_resnet18", *IMAGENET), 11_689_512, COLOURS),
    "sew_resnet34": ZooNetwork(("model=sew_resnet34", *IMAGENET), 21_797_672, COLOURS),
    "sew_resnet50": ZooNetwork(("model=sew_resnet50", *IMAGENET), 25_557_032, COLOURS),
    "vgg_snn": ZooNetwork(("experiment=cifar10dvs_vgg_tet", "data.root=FOLDER"), 9_271_498),
    "neurobench_gesture": ZooNetwork(of("dvsgesture", "model=neurobench_gesture", "data.downsample=4"), 76_187),
    "dcls_shd": ZooNetwork(of("shd", "model=dcls_shd", "data.downsample=5"), 214_016),
    "dcls_ssc": ZooNetwork(of("ssc", "model=dcls_ssc", "data.downsample=5"), 705_536),
    "dcls_ssc_two_delays": ZooNetwork(of("ssc", "model=dcls_ssc_two_delays", "data.downsample=5"), 1_409_024),
    "dcls_ssc_three_layers": ZooNetwork(of("ssc", "model=dcls_ssc_three_layers", "data.downsample=5"), 1_230_848),
    "dcls_ssc_three_layers_two_delays": ZooNetwork(
        of("ssc", "model=dcls_ssc_three_layers_two_delays", "data.downsample=5"), 2_458_624
    ),
    "mlp_radlif": ZooNetwork(of("shd", "model=mlp_radlif"), 3_895_356),
    "mlp_adlif": ZooNetwork(of("shd", "model=mlp_adlif", "data.downsample=5"), 450_020),
    "mlp_adlif_small": ZooNetwork(of("shd", "model=mlp_adlif_small", "data.downsample=5"), 37_524),
}
# Spikformer-2-256 as in SpikingJelly: poolings before neurons, another scale, and no biases in the blocks.
_BLOCKS = "model.layers.encoder.layers"
_CHANGES = (
    *(f"model.layers.embedding.layers.neuron{stage}.after=pool{stage}" for stage in range(1, 5)),
    f"{_BLOCKS}.attention.layers.product.scale=0.125",
    *(f"{_BLOCKS}.{layer}.bias=false" for layer in ("attention.layers.out", "mlp.layers.conv1", "mlp.layers.conv2")),
    "neuron.detach_reset=true",
)
SPIKFORMER = ZooNetwork(of("cifar10dvs", "model=spikformer", *_CHANGES), 2_563_594, (2, 48, 48))
# Height and width at which those that end in adaptive pooling are tested.
SIZES: dict[str, int] = dict.fromkeys(("sew_resnet18", "sew_resnet34", "sew_resnet50"), 32)


def count(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
