"""Cards of the packaged models and of a user's: picture, numbers and facts."""

from __future__ import annotations

from pathlib import Path

import pytest

from snnlab.config.folders import config_folder, group_files
from snnlab.session.model_card import CardNetwork, card_lines, model_card

from ..refusals import assert_text_has

MODELS = group_files("model", config_folder())
# Other tests count their parameters.
LARGE = {"plif_conv4", "plif_conv5", "vgg_snn", "dvsgesture_net", "sew_gesture", "mlp_adlif", "mlp_radlif"}
LARGE |= {"sew_resnet18", "sew_resnet34", "sew_resnet50", "spikformer", "qkformer", "spike_driven_transformer"}
LARGE |= {name for name in MODELS if name.startswith("dcls_ssc")}
NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in LARGE else name for name in MODELS]


@pytest.mark.long
@pytest.mark.parametrize("name", NAMES)
def test_a_packaged_network_is_built_with_its_cards_overrides_and_has_the_published_number_of_parameters(
    name: str,
) -> None:
    found = model_card(name, MODELS[name])
    assert isinstance(found.network, CardNetwork), found.network
    number = sum(found.network.parameters)
    assert number == found.network.summary.parameters
    assert found.card.parameters in (None, number + (found.card.unused or 0))


def test_a_card_has_picture_numbers_source_and_figures() -> None:
    lines = list(card_lines(model_card("plif_conv2", MODELS["plif_conv2"])))
    assert lines[0].startswith("plif_conv2: PLIF-Net")
    assert "fc1 linear · lif3 lif" in "\n".join(lines)
    assert max(len(line) for line in lines[8:]) <= 100
    text = " ".join(" ".join(lines).split())
    assert_text_has(text, "nmnist_plif", "17,132,292", "weights 17,131,776", "norms 512", "neurons 4")
    assert_text_has(
        text, "62,260,224", "622,602,240", "10 steps", "ICCV 2021", "99.57 %", "15 %", "99.61 %", "on the test"
    )


def test_parameters_that_nothing_uses_in_the_source_are_named_and_left_out() -> None:
    text = " ".join(" ".join(card_lines(model_card("spikformer", MODELS["spikformer"]))).split())
    assert_text_has(text, "2,566,666", "weights 2,555,978", "norms 10,688", "2,585,610", "18,944")


def test_a_network_that_cannot_be_built_has_the_reason_in_place_of_a_picture(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "net.yaml"
    path.write_text("# snnlab train model=net\nlayers: {}\ncard: {source: me}\n")
    found = model_card("net", path, tmp_path)
    assert_text_has(str(found.network), "model.layers")
    assert [line.split() for line in card_lines(found)][-1] == ["source", "me"]
