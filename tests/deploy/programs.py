"""Prometheus' and Alertmanager's own programs, which judge what we give them. Without them, tests fail by intention."""

from __future__ import annotations

import shutil
from pathlib import Path

__all__ = ["CONFIG", "REPOSITORY", "program"]

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "config"
_PACKAGES = {"amtool": "prometheus-alertmanager", "prometheus-alertmanager": "prometheus-alertmanager"}


def program(name: str) -> str:
    """Return the path of one of the programs."""
    path = shutil.which(name)
    package = _PACKAGES.get(name, "prometheus")
    assert path, f"{name} is missing: install it with `apt-get install --no-install-recommends {package}`"
    return path
