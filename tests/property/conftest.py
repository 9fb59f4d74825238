"""Lets the tests here import `tests.oracle`, the judge that other suites share."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))
