"""Builds the learning rule of a checked experiment."""

from __future__ import annotations

from snnlab.config.schema import Experiment
from snnlab.config.trainer_settings import precision_of
from snnlab.data.data_settings import DataSettings
from snnlab.errors import ConfigError
from snnlab.nn import BuiltNetwork
from snnlab.nn.learning import BPTT, RULES, LearningRule, RuleContext, bind_rule
from snnlab.nn.losses import Loss
from snnlab.seeds import Stream, derived_seed


def build_rule(experiment: Experiment) -> LearningRule:
    """Build the learning rule, not yet bound to a network."""
    node = dict(experiment.learning)
    kind = node.pop("type", None)
    rule = RULES.build(kind, node, "learning")
    if isinstance(rule, BPTT):
        rule.window = experiment.tbptt_steps
    elif experiment.tbptt_steps is not None:
        raise ConfigError("tbptt_steps", f"truncates learning=bptt, and the rule is {kind}", "set tbptt_steps: null")
    return rule


def make_rule(experiment: Experiment, data: DataSettings, built: BuiltNetwork, loss: Loss) -> LearningRule:
    """Build the learning rule and bind it to a network and a loss."""
    rule, kind = build_rule(experiment), str(experiment.learning["type"])
    if rule.changes_weights:
        _require_plain_steps(experiment, kind)
    seed, loss_type = derived_seed(experiment.seed, Stream.LEARNING), str(experiment.loss.get("type"))
    bind_rule(rule, kind, RuleContext(built, loss, loss_type, seed, data.frame_shape, data.step_ms))
    return rule


def _require_plain_steps(experiment: Experiment, kind: str) -> None:
    """Refuse settings of steps that consist of several batches or processes, or that scale gradients."""
    trainer = experiment.trainer
    why = f"learning={kind} changes the weights within a batch"
    for name, plain in (("accumulate_grad_batches", 1), ("devices", 1), ("num_nodes", 1)):
        value = trainer.get(name, plain)
        if value not in (plain, str(plain), "auto"):
            raise ConfigError(f"trainer.{name}", f"must be {plain}, since {why}, got {value}")
    if trainer.get("precision") is not None and precision_of(trainer["precision"]) == "16-mixed":
        raise ConfigError("trainer.precision", f"16-mixed scales gradients, and {why}", "use bf16-mixed or 32-true")
