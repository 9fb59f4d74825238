"""Files on disk and the lines that they hold: rotated, compressed, broken, growing."""

import gzip
import random
from pathlib import Path

import pytest

from sentinel.errors import ConfigError
from sentinel.ingest.files import Tail, file_lines, oldest_first
from sentinel.ingest.lines import MAX_LINE


@pytest.mark.parametrize(
    "names",
    [
        ["auth.log.10.gz", "auth.log.2.gz", "auth.log.1", "auth.log"],
        ["auth.log-20251230.gz", "auth.log-20260106", "auth.log"],
        ["b.log.1", "b.log", "a.log.1.gz", "a.log"],
        ["access.log", "error.log"],
    ],
)
def test_rotated_parts_are_read_oldest_first(names: list[str]) -> None:
    """However a shell sorts the names, each log is read in the order in which it was written."""
    logs = list(dict.fromkeys(name.split(".log")[0] for name in names))
    for seed in range(20):
        shuffled = random.Random(seed).sample(names, len(names))
        shuffled.sort(key=lambda name: logs.index(name.split(".log")[0]))  # the logs as they were named
        assert [path.name for path in oldest_first(map(Path, shuffled))] == names


def test_gzip_is_unpacked_whatever_its_name(tmp_path: Path) -> None:
    """A compressed part gives the lines that it was made from, CR and broken bytes included."""
    content = b"one\ntwo\r\ncaf\xe9\nlast"
    plain, packed = tmp_path / "plain.gz", tmp_path / "packed.log"
    plain.write_bytes(content)
    packed.write_bytes(gzip.compress(content))
    assert list(file_lines(plain)) == list(file_lines(packed)) == ["one\n", "two\r\n", "caf\ufffd\n", "last"]


@pytest.mark.parametrize("damage", [lambda raw: raw[:-9], lambda raw: raw[:40] + b"\0\0\0\0" + raw[44:]])
def test_broken_gzip_is_told_with_its_place(tmp_path: Path, damage: object) -> None:
    """A file that was cut off by a full disk is not taken for a whole one."""
    packed = tmp_path / "auth.log.2.gz"
    raw = gzip.compress(random.Random(1).randbytes(500).hex().encode())
    packed.write_bytes(damage(raw))  # type: ignore[operator]  # a function of bytes
    with pytest.raises(ConfigError, match=r"auth\.log\.2\.gz: the compressed data is broken"):
        list(file_lines(packed))


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """A wrong name is the user's mistake, said in one line, when reading and when following."""
    for opened in (lambda: list(file_lines(tmp_path / "none")), lambda: Tail(tmp_path / "none")):
        with pytest.raises(ConfigError, match="none: can't be read"):
            opened()


def test_an_endless_line_is_cut_and_the_next_one_read(tmp_path: Path) -> None:
    """A small archive of one huge line takes the memory of one bounded line, and is seen to be too long."""
    packed = tmp_path / "bomb.gz"
    packed.write_bytes(gzip.compress(b"x" * 20_000_000 + b"\nnext\n"))
    long, after = file_lines(packed)
    assert (len(long), after) == (MAX_LINE + 1, "next\n")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "auth.log"
    path.write_text("one\n")
    return path


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_what_is_written_later_is_read(log: Path) -> None:
    """From the beginning, then line by line; half a line waits for its other half."""
    tail = Tail(log)
    assert list(tail.lines()) == ["one\n"]
    append(log, "tw")
    assert list(tail.lines()) == []
    append(log, "o\nthree\n")
    assert list(tail.lines()) == ["two\n", "three\n"]
    tail.close()


def test_rotation_loses_no_line(log: Path) -> None:
    """Lines written to the old file after its rename, and those in the new one, are read, each once."""
    tail = Tail(log)
    list(tail.lines())
    old = log.rename(log.with_name("auth.log.1"))
    append(old, "two\n")
    assert list(tail.lines()) == ["two\n"]
    log.write_text("three\n")
    append(old, "late\n")
    assert list(tail.lines()) == ["late\n"]
    append(old, "unfinished")
    assert [*tail.lines(), *tail.lines()] == ["unfinished", "three\n"]
    append(log, "four\n")
    assert list(tail.lines()) == ["four\n"]
    tail.close()


def test_a_truncated_file_is_read_from_its_start(log: Path) -> None:
    """Rotation by copy and truncate: what is written afterwards is new."""
    append(log, "a longer line\n")
    tail = Tail(log)
    list(tail.lines())
    log.write_text("")
    append(log, "two\n")
    assert list(tail.lines()) == ["two\n"]
    tail.close()


def test_a_file_may_be_away_for_a_while(log: Path) -> None:
    """Between the removal and the creation there is nothing to read, and no error."""
    tail = Tail(log)
    list(tail.lines())
    log.unlink()
    assert list(tail.lines()) == []
    log.write_text("two\n")
    assert list(tail.lines()) == ["two\n"]
    tail.close()


def test_an_endless_line_that_grows_is_bounded(log: Path) -> None:
    """Whoever can write to a log can't fill the memory of its reader."""
    tail = Tail(log)
    for _ in range(40):
        append(log, "x" * 10_000)
        list(tail.lines())
    append(log, "\nnext\n")
    long, after = tail.lines()
    assert MAX_LINE < len(long) <= 2 * MAX_LINE
    assert after == "next\n"
    tail.close()
