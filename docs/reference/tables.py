# ruff: noqa: INP001 - a script beside the pages that it writes, not a package
"""
Write the tables of the reference from the code: `python docs/reference/tables.py`.

A page holds `<!-- table: NAME -->` ... `<!-- end -->`; what lies between is replaced. tests/test_docs.py fails while a
page says something else than the code.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import typer

from sentinel.cli import app
from sentinel.detection import parse_rules, shipped_rules
from sentinel.observability import Metrics
from sentinel.scanning.rulebook import load_rules
from sentinel.server.authorize import ACCESS
from sentinel.server.problems import Problem, codes
from sentinel.settings import Settings
