"""
Pipelines: which layer judges when, and what its judgement leads to.

A scan has three layers: `patterns` (the engines made of rules), `semantic` (the model) and `context` (the conversation,
and everything found so far taken together). Without a pipeline all of them judge and their findings are fused once.
A pipeline asks one layer after the other, and the later ones only under a condition. Each layer judges on top of what
the earlier ones found: evidence adds up and is never lost on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sentinel.errors import ConfigError
from sentinel.model import Finding, ScanAction
from sentinel.scanning.fuse import JUST_SAFE, Ruling, calibrated

__all__ = ["LAYERS", "Course", "Pipeline", "Rule", "get_default_pipeline", "layer_of", "run"]

LAYERS = ("patterns", "semantic", "context")
_LAYER_OF = {"classifier": "semantic", "conversation": "context"}
_ACTIONS = {
    "flag": ScanAction.FLAG,
    "analyze": ScanAction.FLAG,
    "log": ScanAction.LOG,
    "block": ScanAction.BLOCK,
}
"""What a rule that holds makes of a text; `analyze` asks the later rules, and flags if they don't block."""


@dataclass(frozen=True, slots=True)
class Rule:
    """
    One step of a pipeline: a layer, and what to do from some risk on.

    Args:
        layer: `patterns`, `semantic` or `context`.
        action: `flag`, `analyze` (flag, and let a later rule decide), `log` or `block`.
        threshold: The risk, in [0, 1], from which on the rule holds.
        condition: None: always asked. `flagged`: only if an earlier rule holds. `<layer>_flagged`: only if an earlier
            rule of that layer holds.

    Raises:
        ConfigError: One of them is none of these.
    """

    layer: str
    action: str = "flag"
    threshold: float = 0.5
    condition: str | None = None

    def __post_init__(self) -> None:
        _refuse(self.layer not in LAYERS, "layer", f"there are {', '.join(LAYERS)}")
        _refuse(self.action not in _ACTIONS, "action", f"there are {', '.join(_ACTIONS)}")
        _refuse(not _is_share(self.threshold), "threshold", "it is a number from 0 to 1")
        conditions = [None, "flagged", *(f"{layer}_flagged" for layer in LAYERS)]
        _refuse(self.condition not in conditions, "condition", f"there are {', '.join(map(str, conditions))}")

    def is_asked(self, held: Collection[Rule]) -> bool:
        """Return whether the condition is met, given the earlier rules that hold."""
        if self.condition is None:
            return True
        layers = {rule.layer for rule in held}
        return bool(layers) if self.condition == "flagged" else self.condition.removesuffix("_flagged") in layers


@dataclass(frozen=True, slots=True)
class Pipeline:
    """
    Rules in the order in which they are asked.

    Raises:
        ConfigError: There is no rule, or a rule's condition can't be met by any rule before it.
    """

    rules: Sequence[Rule]

    def __post_init__(self) -> None:
        object.__setattr__(self, "rules", tuple(self.rules))
        _refuse(not self.rules, "rules", "a pipeline without rules would judge nothing")
        for number, rule in enumerate(self.rules):
            where = f"rules[{number}]"
            _refuse(not isinstance(rule, Rule), where, "it is no Rule")
            _refuse(not rule.is_asked(self.rules[:number]), f"{where}.condition", "no earlier rule can meet it")


class Course(NamedTuple):
    """What became of one text in a pipeline."""

    ruling: Ruling
    held: tuple[str, ...]
    """The layers whose rules hold, in order."""


def run(
    pipeline: Pipeline, examine: Callable[[str], Iterable[Finding]], risk: Callable[[Collection[Finding]], float]
) -> Course:
    """
    Return what a pipeline makes of one text.

    Args:
        pipeline: Its rules.
        examine: Gives the findings of a layer; called at most once for each.
        risk: Combines findings into a risk in [0, 1].

    Returns:
        The risk is 0.5 or more exactly if a rule that blocks holds; its threshold is then what 0.5 stands for.
    """
    findings: dict[str, list[Finding]] = {}
    held: list[Rule] = []
    risks = [0.0]
    for rule in pipeline.rules:
        if not rule.is_asked(held):
            continue
        if rule.layer not in findings:
            findings[rule.layer] = list(examine(rule.layer))
        score = risk([finding for layer in findings.values() for finding in layer])
        blocks = rule.action == "block"
        risks.append(calibrated(score, rule.threshold) if blocks else min(score, JUST_SAFE))
        if score >= rule.threshold and any(findings.values()):
            held.append(rule)
    return Course(Ruling(max(risks), _action(held)), tuple(dict.fromkeys(rule.layer for rule in held)))


def get_default_pipeline() -> Pipeline:
    """Return the pipeline that judges as a scan without one: every layer is asked, and 0.5 blocks."""
    return Pipeline([Rule("patterns", threshold=0.0), Rule("semantic", threshold=0.0), Rule("context", action="block")])


def layer_of(engine: str) -> str:
    """Return the layer to which an engine belongs."""
    return _LAYER_OF.get(engine, "patterns")


def _action(held: Iterable[Rule]) -> ScanAction:
    actions = {_ACTIONS[rule.action] for rule in held}
    return next((action for action in (ScanAction.FLAG, ScanAction.LOG) if action in actions), ScanAction.ALLOW)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1


def _refuse(wrong: object, key: str, reason: str) -> None:
    if wrong:
        raise ConfigError(reason, where=f"pipeline.{key}")
