"""A running service, and Debian's Prometheus."""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
CONFIG = REPOSITORY / "config" / "prometheus"
SENTINEL = [sys.executable, "-m", "sentinel_ai_launcher_as_program"]
