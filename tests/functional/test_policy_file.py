"""The policy's file is followed while the service runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.functional.conftest import Api, S

BLOCK = """\
rules:
  - {name: r, match: {subject_types: [ip], min_severity: high}, action: ip_block, duration: 1h}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "policy.yml"
    path.write_text(BLOCK)
    return path


@pytest.fixture
def api(make_api: Any, path: Path) -> Api:
    found: Api = make_api(policy_file=path)
    return found


def attack(api: Api, address: str) -> list[str]:
    """Return the kinds of action that ten failures from an address lead to."""
    api.send([api.failed_login(address, seconds=n) for n in range(10)])
    blocks = api.get("/active-blocks")
    names = {item["action_type"] for items in blocks.values() for item in items if address in item["target"]}
    return sorted(names)


def test_a_changed_policy_is_in_force_at_once(api: Api, path: Path) -> None:
    """No restart: the next attack is answered as the file now says."""
    assert attack(api, "203.0.113.1") == ["ip_block"]
    path.write_text(BLOCK.replace("ip_block", "rate_limit"))
    api.monitor.policy_file.look()
    assert attack(api, "203.0.113.2") == ["rate_limit"]
    assert "ip_block" in attack(api, "203.0.113.1"), "what was decided stays"


@pytest.mark.parametrize("broken", ["rules: [", BLOCK.replace("1h", "soon"), None])
def test_a_broken_policy_leaves_the_last_good_one_and_is_told(api: Api, path: Path, broken: str | None) -> None:
    """A typing error at three in the morning must not switch the response off, nor pass unseen."""
    if broken is None:
        path.unlink()
    else:
        path.write_text(broken)
    api.monitor.policy_file.look()
    assert attack(api, "203.0.113.1") == ["ip_block"]
    health = api.get("/health")
    assert health["components"]["automated_response_service"]["status"] == "degraded"
    assert health["overall_status"] == "degraded"
    log = (api.settings.data_dir / "logs" / "api.log").read_text()
    assert "the last good one stays in force" in log
    path.write_text(BLOCK + "\n")
    api.monitor.policy_file.look()
    assert api.ask("GET", f"{S}/health").json()["overall_status"] == "healthy"
