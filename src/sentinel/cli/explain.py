"""`sentinel explain`: why something was done, and why not."""

from __future__ import annotations

import json
from typing import Annotated, Any
from urllib.parse import quote

import typer

from sentinel.cli._service import AsJson, DataDir, ask, on_service

__all__ = ["explain"]


def explain(
    thing: Annotated[str, typer.Argument(help="Id of an event, a signal, an incident or an action.")],
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """
    Say why something was done, or why nothing was: what the rule asks, what the policy says, where it is enforced.

    Example: sentinel explain act-0123456789abcdef01234567
    """
    path = f"/explain/{quote(thing, safe='')}"
    told = on_service(lambda client, _: ask(client, "GET", path), {"data_dir": data_dir})
    if as_json:
        typer.echo(json.dumps(told))
        return
    for line in _lines(told):
        typer.echo(line)


def _lines(told: dict[str, Any]) -> list[str]:
    if told["kind"] == "event":
        found = [f"found by {rule['rule']}: {rule['title']}" for rule in told["found_by"]] or ["no rule finds it"]
        return [*found, f"{told['not_found_by']} other rules don't", *told["notes"]]
    if told["kind"] == "action":
        action = told["action"]
        until = action["expiration"] or "somebody ends it"
        first = [f"{action['action_type']} on {action['target']}, {action['status']}, until {until}", action["reason"]]
        first += [f"by {told['by']}", told["enforcement"]]
        return first + [line for signal in told["because_of"] for line in _signal(signal)]
    signals = told["signals"] if told["kind"] == "incident" else [told]
    return [line for signal in signals for line in _signal(signal)]


def _signal(told: dict[str, Any]) -> list[str]:
    signal = told["signal"]
    asks = [f"  {line}" for line in told["rule_asks"].splitlines()]
    seen = (
        f"{signal['title']}: {signal['count']} events about {signal['subject']}, {signal['first']} to {signal['last']}"
    )
    return [seen, f"the rule {signal['rule']} asks:", *asks, f"the policy says: {told['policy_says']}"]
