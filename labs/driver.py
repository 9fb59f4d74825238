"""
Runs a learner's code in a process of its own: `python -P driver.py PROBES FD`, in the folder of the code.

Reads one JSON line a question from standard input, `{"probe": name, "args": [...]}`, calls that function of the file
PROBES, and writes one JSON line to FD: `{"value": ...}` or `{"error": ...}`, and which addresses beyond this machine
the code tried to listen on. The limits keep mistakes in, such as an endless loop or an open port. They are no prison:
code that means harm belongs into a container.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import inspect
import io
import ipaddress
import json
import os
import resource
import socket
import sys
import traceback
from pathlib import Path
from typing import Any

import msgspec

_LIMITS = {
    resource.RLIMIT_CPU: 60,
    resource.RLIMIT_FSIZE: 32 * 2**20,
    resource.RLIMIT_AS: 4 * 2**30,
    resource.RLIMIT_CORE: 0,
}
_LONGEST_ERROR = 500
_OTHER_PROGRAMS = frozenset({"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty"})
_SENDING = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})

_exposed: list[str] = []


def _limit() -> None:
    for which, most in _LIMITS.items():
        with contextlib.suppress(ValueError, OSError):  # a system that has a lower one, or none of this kind
            resource.setrlimit(which, (most, most))


def _is_here(host: object) -> bool:
    if host in {"localhost", b"localhost"}:
        return True
    try:
        return ipaddress.ip_address(str(host)).is_loopback
    except ValueError:
        return False


def _is_number(host: object) -> bool:
    """Return whether a host is an address already, so that to look it up asks nobody."""
    try:
        ipaddress.ip_address(str(host))
    except ValueError:
        return False
    return True


def _bind_here(self: socket.socket, address: Any) -> None:
    """Listen on this machine's own address whatever was asked for, and remember what was."""
    if self.family in {socket.AF_INET, socket.AF_INET6} and not _is_here(address[0]):
        _exposed.append(str(address[0]) or "0.0.0.0")  # noqa: S104 - named, not listened on
        address = ("127.0.0.1" if self.family == socket.AF_INET else "::1", *address[1:])
    super(socket.socket, self).bind(address)


def _watch(event: str, args: tuple[Any, ...]) -> None:
    if event in _OTHER_PROGRAMS:
        raise PermissionError("a lab starts no other programs")
    if event in _SENDING and isinstance(args[1], tuple) and not _is_here(args[1][0]):
        raise PermissionError("a lab reaches nothing but this machine")
    if event == "socket.getaddrinfo" and args[0] is not None and not _is_here(args[0]) and not _is_number(args[0]):
        raise PermissionError("a lab looks up no names")


def _loaded(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("lab_probes", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _answer(probes: Any, question: dict[str, Any]) -> bytes:
    answer: dict[str, Any] = {"exposed": _exposed}
    try:
        value = getattr(probes, question["probe"])(*question["args"])
        if inspect.isawaitable(value):
            value = asyncio.run(_awaited(value))
        # Turned into JSON here, so that a value that JSON can't hold is the learner's error.
        return msgspec.json.encode({**answer, "value": value})
    except (Exception, SystemExit) as err:  # noqa: BLE001 - the learner's code may do anything
        return msgspec.json.encode({**answer, "error": _told(err)})


async def _awaited(value: Any) -> Any:
    return await value


def _told(err: BaseException) -> str:
    """Return what went wrong, and the last line of the learner's own code where it did."""
    here = os.getcwd()  # noqa: PTH109 - compared as text
    own = [frame for frame in traceback.extract_tb(err.__traceback__) if frame.filename.startswith(here)]
    place = f" ({Path(own[-1].filename).name}, line {own[-1].lineno})" if own else ""
    return f"{type(err).__name__}: {err}"[:_LONGEST_ERROR] + place


def main() -> None:
    """Answer questions until there are no more."""
    _limit()
    socket.socket.bind = _bind_here  # type: ignore[method-assign,assignment]
    questions = io.open(os.dup(0), "rb")  # noqa: SIM115, UP020 - open until the end; standard input is for the learner
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    answers = os.fdopen(int(sys.argv[2]), "wb")
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - sys.path holds text
    probes = _loaded(sys.argv[1])
    sys.addaudithook(_watch)
    for line in questions:
        answer = _answer(probes, json.loads(line))
        sys.stdout.flush()
        answers.write(answer + b"\n")
        answers.flush()


main()
