"""`sentinel demo`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table

from sentinel.cli._service import console, server_extra

if TYPE_CHECKING:  # the server extra, and slow to import
    from sentinel.cli._demo.measure import Criterion, Measured
    from sentinel.cli._demo.service import Service
    from sentinel.cli._demo.visitors import Attack, People

__all__ = ["demo"]

_ENDED = 143  # as a shell says of a process that SIGTERM ended


def demo(
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document on stdout; what happens goes to stderr.")
    ] = False,
    stay: Annotated[
        bool, typer.Option("--stay", help="Leave the service up afterwards, to look around, until Ctrl-C.")
    ] = False,
) -> None:
    """
    Watch Sentinel at work: people, a brute force, an injection campaign, an exfiltration, and what is done about them.

    It starts a service on a data folder that is deleted afterwards, and a small shop behind the middleware; everything
    goes over HTTP on this machine. It ends with what was measured, and with 1 when a promise did not hold.

    Example: sentinel demo
    """
    talk = console(stderr=as_json)
    with server_extra():
        from sentinel.cli._demo.shop import Mailbox, Shop  # noqa: PLC0415 - the server extra, and slow to import
    from sentinel.cli._demo.measure import measure  # noqa: PLC0415 - as above
    from sentinel.cli._demo.service import Service  # noqa: PLC0415
    from sentinel.cli._demo.visitors import People, passwords, play  # noqa: PLC0415

    for number in (signal.SIGTERM, signal.SIGHUP):  # a terminal that is closed must not leave the service behind
        signal.signal(number, lambda *_: sys.exit(_ENDED))
    show, people = _shower(talk), People()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="sentinel-demo-") as name, Mailbox() as mailbox:
        show("a service starts, with a data folder of its own")
        with Service(Path(name), mailbox.url) as service:
            known = passwords()
            with Shop(service, known) as shop, _watching(talk, people):
                attacks = asyncio.run(play(shop.url, known, people, show))
                measured = measure(service, mailbox, people, attacks, show)
            seconds = time.monotonic() - began
            if as_json:
                typer.echo(json.dumps(_document(seconds, people, attacks, measured)))
            else:
                _print(talk, seconds, measured)
            if stay:
                _stay(talk, service)
    if not measured.met:
        raise typer.Exit(1)


def _shower(talk: Console) -> Callable[[str], None]:
    began = time.monotonic()

    def show(line: str) -> None:
        talk.print(f"[dim]{time.monotonic() - began:5.1f} s[/dim]  {line}", highlight=False)

    return show


def _watching(talk: Console, people: People) -> AbstractContextManager[object]:
    """Show below the lines, on a terminal, that life goes on."""
    if not talk.is_terminal:
        return nullcontext()

    def footer() -> str:
        return f"       people at work: {people.requests} requests, {people.texts} texts, {people.refused} refused"

    return Live(console=talk, get_renderable=footer, refresh_per_second=5, transient=True)


def _print(talk: Console, seconds: float, measured: Measured) -> None:
    talk.print()
    done = Table("what was done", "on", "because", "until", title="What the service did")
    for action in measured.actions:
        # An escalation's target is an incident's long id, and the reason says who it is about.
        on = "" if action["action_type"] == "alert_escalation" else action["target"]
        done.add_row(action["action_type"], on, action["reason"], action["expiration"] or "")
    talk.print(done)
    table = Table("promise", "asked", "measured", "", "how", title="What was promised, and what was measured")
    for criterion in measured.criteria:
        table.add_row(criterion.name, criterion.asked, *_figures(criterion), criterion.told)
    talk.print(table)
    talk.print(
        f"{measured.events} events, {len(measured.incidents)} incidents, {seconds:.0f} s in all. "
        "Next: `make run`, then docs/tutorial/first-block.md; or `sentinel demo --stay`.",
        highlight=False,
    )


def _figures(criterion: Criterion) -> tuple[str, str]:
    if criterion.limit is None:
        return "-", ""
    if criterion.measured is None:
        return "never", "[red]broken[/red]"
    shown = f"{criterion.measured:.1%}" if criterion.limit < 1 else f"{criterion.measured:.2f} s"
    if not criterion.met:
        return shown, "[red]broken[/red]"
    better = criterion.times_better
    return shown, "[green]kept[/green]" if better is None else f"[green]kept, {better:.0f} times better[/green]"


def _document(seconds: float, people: People, attacks: list[Attack], measured: Measured) -> dict[str, Any]:
    return {
        "ok": measured.met,
        "seconds": round(seconds, 3),
        "events": measured.events,
        "people": {
            "number": len(people.addresses),
            "requests": people.requests,
            "refused": people.refused,
            "texts": people.texts,
            "texts_refused": people.texts_refused,
        },
        "attacks": [asdict(attack) for attack in attacks],
        "incidents": [
            {key: incident[key] for key in ("id", "subject", "severity", "threat_types")}
            for incident in measured.incidents
        ],
        "actions": measured.actions,
        "criteria": [
            asdict(criterion) | {"met": criterion.met, "times_better": criterion.times_better}
            for criterion in measured.criteria
        ],
    }


def _stay(talk: Console, service: Service) -> None:
    talk.print(
        f"""
The service stays up on {service.url} until Ctrl-C. In another terminal:
  sentinel incidents list --data-dir {service.data}
  sentinel blocks list --data-dir {service.data}
  sentinel blocks remove 203.0.113.9 --data-dir {service.data}
  sentinel audit verify --data-dir {service.data}""",
        highlight=False,
        soft_wrap=True,
    )
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        talk.print("It ends, and its folder goes.")
