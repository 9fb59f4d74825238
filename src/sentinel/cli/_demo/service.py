"""`sentinel serve` as a process of its own, on a data folder that nobody needs afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import httpx

from sentinel.datafolder import service_address, write_secret
from sentinel.errors import OutsideError

__all__ = ["Service", "now_seconds"]

S = "/api/v1/security"
_START_SECONDS = 60.0
_STOP_SECONDS = 15.0
_COMMAND = "from sentinel_ai_launcher import main; raise SystemExit(main())"
_PLAN = """\
levels:
  - name: security team
    after: 0s
    channels: ['file:{url_file}']
"""


def now_seconds() -> float:
    """Return the wall clock; events, signals and actions carry it too."""
    return time.time()


class Service:
    """
    The service, with one token for what sends events and one for what obeys. As a context it answers inside.

    Args:
        folder: An empty one.
        mailbox: URL where alerts go.
    """

    def __init__(self, folder: Path, mailbox: str) -> None:
        self.data = folder / "data"
        self.url = self.ingest = self.enforcer = ""
        self._folder = folder
        write_secret(folder / "mailbox.url", f"webhook:{mailbox}\n".encode())
        (folder / "plan.yml").write_text(_PLAN.format(url_file=folder / "mailbox.url"), encoding="utf-8")

    def __enter__(self) -> Self:
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # for the shop and its middleware too
        environment = {name: value for name, value in os.environ.items() if not name.upper().startswith("SENTINEL_")}
        with (self._folder / "service.log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", _COMMAND, "serve", "--port", "0", "--data-dir", str(self.data)],
                cwd=self._folder,
                env=environment | {"SENTINEL_ESCALATION_FILE": str(self._folder / "plan.yml")},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us, who end it in order
            )
        try:
            self._wait()
            self.admin = httpx.Client(base_url=self.url, headers=self._bearer(), timeout=30, trust_env=False)
            acting = {"role": "ingest", "name": "shop", "may_cause_actions": True, "max_severity": "critical"}
            self.ingest = self.ask("POST", "/tokens", json=acting)["token"]
            self.enforcer = self.ask("POST", "/tokens", json={"role": "enforcer", "name": "shop"})["token"]
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if hasattr(self, "admin"):
            self.admin.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """Return the JSON answer to the admin."""
        answer = self.admin.request(method, S + path, **options)
        answer.raise_for_status()
        return answer.json()

    def metrics(self) -> str:
        """Return what Prometheus would read."""
        token = self.ask("POST", "/tokens", json={"role": "scraper", "expires": "1m"})["token"]
        answer = self.admin.get("/metrics", headers={"Authorization": f"Bearer {token}"})
        answer.raise_for_status()
        return answer.text

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.data / 'token').read_text(encoding='ascii').strip()}"}

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = (self._folder / "service.log").read_text(encoding="utf-8", errors="replace")[-1000:]
                raise OutsideError(f"the service of the demo did not start: {said.strip()}", retryable=True)
            time.sleep(0.05)

    def _ready(self) -> bool:
        self.url = service_address(self.data) or ""
        try:
            return bool(self.url) and httpx.get(f"{self.url}/readyz", trust_env=False).is_success
        except httpx.TransportError:
            return False
