"""A log that another process reads."""

from __future__ import annotations

import asyncio
import gzip
import os
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest

from sentinel.cli import ingest
from sentinel.errors import ConfigError, OutsideError
from sentinel.ingest.apart import Apart
from sentinel.ingest.events import checked
from sentinel.ingest.files import file_lines
from sentinel.ingest.lines import LineReader
from sentinel.ingest.logs import Log, LogFormat
from sentinel.ingest.parts import joined, parts_of
from sentinel.model import Event

LOG = Log(format=LogFormat.SSHD, now=datetime(2026, 11, 22, 12, tzinfo=UTC))


def log(first: int, count: int) -> str:
    """Failures, and a line that nobody understands after each tenth of them."""
    return "".join(
        f"Nov 20 03:{n // 60 % 60:02}:{n % 60:02} bastion sshd[{n}]: "
        f"Failed password for root from 203.0.113.9 port {n} ssh2\n" + ("what is this\n" if n % 10 == 9 else "")
        for n in range(first, first + count)
    )


def counts(reader: LineReader) -> tuple[int, int, int, list[int]]:
    return reader.lines, reader.ignored, reader.unknown, reader.unknown_at


async def collected(paths: list[Path], size: int, reader: LineReader, into: list[Event]) -> list[int]:
    sizes = []
    with Apart(LOG, paths, size, reader) as apart:
        async for part in apart.parts():
            into += [event for _, event in part.events]
            sizes.append(len(part.events))
    return sizes


def test_another_process_reads_as_this_one_does(tmp_path: Path) -> None:
    """The same events in the same order, in parts, and every line accounted for."""
    paths = [tmp_path / "auth.log.1", tmp_path / "auth.log"]
    paths[0].write_bytes(gzip.compress(log(0, 25).encode()))
    paths[1].write_text(log(25, 15))
    here, there = LOG.reader(), LOG.reader()
    events: list[Event] = []
    sizes = asyncio.run(collected(paths, 16, there, events))
    assert sizes == [2, 4, 8, 16, 10]
    assert events == list(here.read(line for path in paths for line in file_lines(path)))
    assert counts(there) == counts(here) == (44, 0, 4, [11, 22, 33, 44])


def test_a_file_that_is_cut_off_is_named_after_what_it_held(tmp_path: Path) -> None:
    """What could be read is taken, and the error is the one that reading here raises."""
    path = tmp_path / "auth.log.gz"
    path.write_bytes(gzip.compress(log(0, 4000).encode(), compresslevel=0)[:-200_000])
    events: list[Event] = []
    with pytest.raises(ConfigError, match=r"auth\.log\.gz: the compressed data is broken or cut off"):
        asyncio.run(collected([path], 100, LOG.reader(), events))
    assert events


def test_a_process_that_dies_is_no_end_of_the_log(tmp_path: Path) -> None:
    """A half-read log never looks like a whole one."""
    path = tmp_path / "auth.log"
    path.write_text(log(0, 20_000))

    async def cut_short() -> None:
        with Apart(LOG, [path], 100, LOG.reader()) as apart:
            async for _ in apart.parts():
                apart._process.kill()

    with pytest.raises(OutsideError, match="ended before the log did"):
        asyncio.run(cut_short())


def test_nobody_is_left_reading_when_nobody_listens(tmp_path: Path) -> None:
    """Whoever begins and then finds that it can't go on leaves no process behind."""
    path = tmp_path / "auth.log"
    path.write_text(log(0, 20_000))
    with Apart(LOG, [path], 100, LOG.reader()) as apart:
        assert apart._process.poll() is None
    assert apart._process.returncode is not None


def test_a_file_may_have_any_name(tmp_path: Path) -> None:
    """Also one that is no text."""
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/auth-\xff.log"))
    path.write_text(log(0, 5))
    events: list[Event] = []
    assert asyncio.run(collected([path], 100, LOG.reader(), events)) == [5]


def test_parts_are_full_but_the_last() -> None:
    """No event is lost at the seams, and nothing gives no part."""
    events = list(LOG.reader().read(log(0, 40).splitlines()))
    parts = [[event for _, event in part.events] for part in parts_of(events, 16)]
    assert [len(part) for part in parts] == [16, 16, 8]
    assert [event for part in parts for event in part] == events
    assert [len(part.events) for part in parts_of(events[:3], 1)] == [1, 1, 1]
    assert list(parts_of([], 16)) == []


def test_pieces_are_one_part() -> None:
    """In order, and what is refused is found at its place in the whole."""
    events = list(LOG.reader().read(log(0, 40).splitlines()))
    events[20] = msgspec.structs.replace(events[20], user_id="u" * 257)
    assert joined(parts_of(events, 6)) == checked(events)


def test_a_process_tells_its_own_memory_alone(tmp_path: Path) -> None:
    """What this process had when it started the other one is no part of it, and would be counted twice."""
    path = tmp_path / "auth.log"
    path.write_text(log(0, 1000))
    ours = bytes(range(256)) * 400_000

    async def peak() -> int:
        with Apart(LOG, [path], 100, LOG.reader()) as apart:
            async for _ in apart.parts():
                pass
            return apart.peak_kilobytes

    assert 4_000 < asyncio.run(peak()) < len(ours) // 1024


@pytest.mark.parametrize(("size", "apart"), [(0, True), (1 << 30, False)])
def test_the_command_adds_what_the_other_process_took(
    size: int, apart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`peak_rss_mb` is of all that an ingest took, and nobody else reads a small log."""
    monkeypatch.setattr(ingest, "_WORTH_A_PROCESS", size)
    path = tmp_path / "auth.log"
    path.write_text(log(0, 100))

    async def taken() -> tuple[int, int]:
        with ingest._reading(LOG, LOG.reader(), [path]) as (parts, peak):
            return sum([len(part.events) async for part in parts]), peak()

    events, kilobytes = asyncio.run(taken())
    assert (events, kilobytes > 4_000) == (100, apart)
