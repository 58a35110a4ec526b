"""Builds the learning rule of a checked experiment."""

from __future__ import annotations

from snnlab.config.schema import Experiment
from snnlab.data.data_settings import DataSettings
from snnlab.errors import ConfigError
from snnlab.nn import BuiltNetwork
from snnlab.nn.learning import BPTT, RULES, LearningRule, RuleContext, bind_rule
from snnlab.nn.losses import Loss
from snnlab.seeds import Stream, derived_seed


def build_rule(experiment: Experiment) -> LearningRule:
    """Build the learning rule, not yet bound to a network.

    Raises:
        ConfigError: for a mistake in its settings, or windows of a rule that has none.
    """
    node = dict(experiment.learning)
    kind = node.pop("type", None)
    rule = RULES.build(kind, node, "learning")
    if isinstance(rule, BPTT):
        rule.window = experiment.tbptt_steps
    elif experiment.tbptt_steps is not None:
        raise ConfigError("tbptt_steps", f"truncates learning=bptt, and the rule is {kind}", "set tbptt_steps: null")
    return rule


def make_rule(experiment: Experiment, data: DataSettings, built: BuiltNetwork, loss: Loss) -> LearningRule:
    """Build the learning rule and bind it to a network and a loss.

    Raises:
        ConfigError: if it cannot train them, with the rules that can.
    """
    rule, kind = build_rule(experiment), str(experiment.learning["type"])
    seed = derived_seed(experiment.seed, Stream.LEARNING)
    bind_rule(rule, kind, RuleContext(built, loss, str(experiment.loss.get("type")), seed, data.frame_shape))
    return rule
