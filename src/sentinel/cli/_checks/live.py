"""What runs: the service, Prometheus, Alertmanager, Grafana, asked over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from sentinel.cli._checks.check import Check, bad, good, warned
from sentinel.model import ActionType

__all__ = ["prove_a_block", "service_checks", "stack_checks"]

_S = "/api/v1/security"
_BACKLOG = 10_000
_ENFORCED = {"ip_blocks", "user_suspensions", "rate_limits", "account_lockouts", "service_isolations", "quarantines"}


async def service_checks(client: httpx.AsyncClient) -> list[Check]:
    """Return what a running service says, asked as its admin."""
    checks = [await _ready(client), await _secured(client)]
    health = (await client.get(f"{_S}/health")).json()
    checks.append(_healthy(health))
    checks.append(_queue(health["queue"]))
    checks.append(_rules(health["rules"]))
    checks.append(_enforced((await client.get(f"{_S}/active-blocks")).json()))
    audit = (await client.get(f"{_S}/audit/verify", timeout=120)).json()
    checks.append(_audited(audit))
    return checks


async def _ready(client: httpx.AsyncClient) -> Check:
    answer = await client.get("/readyz")
    if answer.status_code == httpx.codes.OK:
        return good("service: ready", "it takes events")
    return bad("service: ready", str(answer.json().get("reason")), "see docs/how-to/troubleshoot.md")


async def _secured(client: httpx.AsyncClient) -> Check:
    """Ask for the metrics as somebody without a token would."""
    answer = await client.get("/metrics", headers={"Authorization": "Bearer none"})
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return good("service: metrics secured", "without a token the metrics are refused")
    return bad(
        "service: metrics secured", f"without a token it answers {answer.status_code}", "this is a defect: tell us"
    )


def _healthy(health: Mapping[str, Any]) -> Check:
    ill = [f"{name} is {part['status']}" for name, part in health["components"].items() if part["status"] != "running"]
    if health["overall_status"] == "healthy":
        return good("service: health", "every component runs")
    says = "; ".join(ill) or "the audit log's anchor can't be used"
    return bad("service: health", f"{health['overall_status']}: {says}", "logs/api.log in the data folder says why")


def _queue(queue: Mapping[str, int]) -> Check:
    waiting = queue["accepted_seq"] - queue["processed_seq"]
    if waiting < _BACKLOG:
        return good("service: queue", f"{waiting} events wait")
    return warned(
        "service: queue", f"{waiting} events wait to be judged", "see `security_queue_depth`; is the disk slow?"
    )


def _rules(rules: Mapping[str, int]) -> Check:
    if rules["refused"] or rules["rejected"]:
        says = f"{rules['refused']} rules refused, {rules['rejected']} waiting changes rejected"
        return bad("service: rules", says, "sentinel rules lint, and sentinel rules reload")
    return good("service: rules", f"{rules['loaded']} rules in force")


def _enforced(lists: Mapping[str, Any]) -> Check:
    """Say whether what is in force is obeyed somewhere: a block that nobody enforces is a wish."""
    actions = [item for name in _ENFORCED for item in lists[name]]
    alone = [f"{item['action_type']} on {item['target']}" for item in actions if not item["enforced_by"]]
    if not alone:
        return good("service: enforcement", f"{len(actions)} actions in force, all enforced somewhere")
    says = f"nothing enforces {', '.join(alone[:3])}{' and more' if len(alone) > 3 else ''}"  # noqa: PLR2004
    return warned(
        "service: enforcement", says, "put the middleware or a gate in front: docs/how-to/enforce-elsewhere.md"
    )


def _audited(report: Mapping[str, Any]) -> Check:
    if report["status"] == "verified":
        return good("service: audit log", f"{report.get('size', 'all')} entries, under the anchor")
    if report["status"] == "tampered":
        return bad("service: audit log", "; ".join(report["problems"]), "keep the data folder as it is, and ask who")
    return warned("service: audit log", f"it is {report['status']}", "sentinel audit verify says what is missing")


async def prove_a_block(client: httpx.AsyncClient, target: str) -> Check:
    """Block an address that nobody has, see it blocked, end it, and see it gone."""
    name = "service: canary block"
    path = f"{_S}/check-ip/{target}"
    order = {
        "action_type": ActionType.IP_BLOCK.value,
        "target": target,
        "reason": "sentinel doctor",
        "duration_hours": 0.02,
    }
    made = await client.post(f"{_S}/manual-action", json=order)
    if made.is_error:
        return bad(name, f"the order was answered with {made.status_code}", "logs/api.log says why")
    blocked = (await client.get(path)).json()["is_blocked"]
    await client.delete(f"{_S}/action/{ActionType.IP_BLOCK.value}/{target}")
    gone = not (await client.get(path)).json()["is_blocked"]
    if blocked and gone:
        return good(name, f"{target} was blocked, and let go again")
    return bad(name, "a block did not block" if not blocked else "a block could not be ended", "restart the service")


def stack_checks(prometheus: str | None, alertmanager: str | None, grafana: str | None, verify: Any) -> Iterator[Check]:
    """Yield what the programs around the service say; None = not asked for."""
    with httpx.Client(timeout=10, verify=verify, trust_env=False) as client:
        if prometheus is not None:
            yield from _prometheus(client, prometheus.rstrip("/"))
        if alertmanager is not None:
            yield _answers(client, "alertmanager: answers", f"{alertmanager.rstrip('/')}/-/ready")
        if grafana is not None:
            yield _answers(client, "grafana: answers", f"{grafana.rstrip('/')}/api/health")


def _answers(client: httpx.Client, name: str, url: str) -> Check:
    try:
        answer = client.get(url)
    except httpx.HTTPError as err:
        return bad(name, f"it can't be reached ({type(err).__name__})", f"is it running, and is {url} right?")
    if answer.is_success:
        return good(name, "it is ready")
    return bad(name, f"it answers {answer.status_code}", "its log says why")


def _prometheus(client: httpx.Client, url: str) -> Iterator[Check]:
    ready = _answers(client, "prometheus: answers", f"{url}/-/ready")
    yield ready
    if ready.state != "ok":
        return
    targets = client.get(f"{url}/api/v1/targets").json()["data"]["activeTargets"]
    ours = [target for target in targets if target["labels"].get("job") == "sentinel"]
    down = [f"{target['scrapeUrl']}: {target['lastError']}" for target in ours if target["health"] == "down"]
    if down or not ours:
        says = "; ".join(down) or "it has no job `sentinel`"
        yield bad("prometheus: scrapes the service", says, "token, role and address: docs/how-to/troubleshoot.md")
    else:
        yield good("prometheus: scrapes the service", f"{len(ours)} targets")
    groups = client.get(f"{url}/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    ill = [rule["name"] for rule in rules if rule["health"] == "err"]
    if ill or not rules:
        yield bad("prometheus: rules", ", ".join(ill) or "none is loaded", "promtool check rules security_rules.yml")
    else:
        yield good("prometheus: rules", f"{len(rules)} rules")
