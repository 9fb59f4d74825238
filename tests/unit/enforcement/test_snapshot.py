"""The local copy: what it refuses, what order does to it, and what becomes of its file."""

import threading
from pathlib import Path
from typing import Any

import pytest

from sentinel.enforcement.snapshot import Block, Snapshot, parse_address
from sentinel.errors import OutsideError
from sentinel.model import ActionStatus, Severity

NOW = 1_000_000_000


def block(block_id: str = "b1", target: str = "203.0.113.9", **changes: Any) -> Block:
    fields: dict[str, Any] = {
        "seq": 1,
        "action_type": "ip_block",
        "status": ActionStatus.ACTIVE,
        "expires": None,
        "reason": "r",
        "severity": Severity.HIGH,
    }
    return Block(id=block_id, target=target, **(fields | changes))


def snapshot_of(*blocks: Block) -> Snapshot:
    snapshot = Snapshot()
    snapshot.apply(blocks, 1, complete=True)
    return snapshot


@pytest.mark.parametrize(
    ("target", "address", "refused"),
    [
        ("203.0.113.9", "203.0.113.9", True),
        ("203.0.113.9", "::ffff:203.0.113.9", True),
        ("203.0.113.9", "203.0.113.10", False),
        ("203.0.113.0/24", "203.0.113.255", True),
        ("203.0.113.0/24", "203.0.114.0", False),
        ("2001:db8:1:2::/64", "2001:db8:1:2:ffff::1", True),
        ("2001:db8:1:2::/64", "2001:db8:1:3::1", False),
        ("2001:db8::9", "2001:0DB8:0::0009", True),
        ("2001:db8::9", "2001:db8::9%eth0", True),
        ("0.0.0.9", "::9", False),
    ],
)
def test_a_block_refuses_what_it_contains(target: str, address: str, refused: bool) -> None:
    """However an address is spelled, it is inside or outside; the two families never mix."""
    assert (snapshot_of(block(target=target)).check(address, NOW) is not None) is refused


@pytest.mark.parametrize(("expires", "refused"), [(None, True), (NOW + 1, True), (NOW, False), (NOW - 1, False)])
def test_blocks_end_when_they_say_and_permanent_ones_never(expires: int | None, refused: bool) -> None:
    """Without an end a block is permanent, not expired (D9)."""
    assert (snapshot_of(block(expires=expires)).check("203.0.113.9", NOW) is not None) is refused


def test_an_expired_block_hides_no_other() -> None:
    """A short block that is over does not open what a longer or wider one closes."""
    over, long, wide = block(expires=NOW), block("b2"), block("b3", "203.0.113.0/24")
    assert snapshot_of(over, long).check("203.0.113.9", NOW) == long
    assert snapshot_of(over, wide).check("203.0.113.9", NOW) == wide


def test_a_refusal_goes_before_a_rate_limit() -> None:
    """An address that is limited and lies in a blocked network is blocked."""
    limit = block("b2", "ip:203.0.113.9", action_type="rate_limit")
    wide = block("b3", "203.0.113.0/24")
    assert snapshot_of(limit, wide).check("203.0.113.9", NOW) == wide
    assert snapshot_of(limit).check("203.0.113.9", NOW) == limit


@pytest.mark.parametrize(
    ("action_type", "target"),
    [
        ("rate_limit", "user:203.0.113.9"),
        ("explode", "203.0.113.9"),
        ("user_suspend", "203.0.113.9"),
        ("ip_block", "asn:64500"),
    ],
)
def test_what_concerns_no_address_is_kept_and_harmless(action_type: str, target: str) -> None:
    """A newer service may send what this node cannot enforce; the rest of its list still holds."""
    snapshot = snapshot_of(block("new", target, action_type=action_type), block("old", "203.0.113.10"))
    assert len(snapshot) == 2
    assert snapshot.check("203.0.113.9", NOW) is None
    assert snapshot.check("203.0.113.10", NOW) is not None
    snapshot.apply([block("new", target, action_type=action_type, seq=2, status=ActionStatus.REVOKED)], 2)
    assert len(snapshot) == 1


@pytest.mark.parametrize("ending", [ActionStatus.REVOKED, ActionStatus.EXPIRED, ActionStatus.FAILED])
def test_a_block_that_ended_is_gone(ending: ActionStatus) -> None:
    """An undo reaches the node as a change, and only the block it names goes."""
    snapshot = snapshot_of(block(), block("b2", "203.0.113.10"))
    snapshot.apply([block(seq=2, status=ending)], 2)
    assert snapshot.check("203.0.113.9", NOW) is None
    assert snapshot.check("203.0.113.10", NOW) is not None


def test_one_of_two_blocks_on_an_address_can_be_undone() -> None:
    """The other one still holds."""
    snapshot = snapshot_of(block("b1"), block("b2"))
    snapshot.apply([block("b1", seq=2, status=ActionStatus.REVOKED)], 2)
    found = snapshot.check("203.0.113.9", NOW)
    assert found is not None
    assert found.id == "b2"


def test_a_change_replaces_the_block() -> None:
    """A longer expiry or another target takes the place of the old one."""
    snapshot = snapshot_of(block(expires=NOW))
    snapshot.apply([block(seq=2, expires=NOW + 5)], 2)
    assert snapshot.check("203.0.113.9", NOW) is not None
    snapshot.apply([block(seq=3, target="203.0.113.0/28")], 3)
    assert snapshot.check("203.0.113.1", NOW) is not None
    assert len(snapshot) == 1


def test_an_old_change_brings_no_block_back() -> None:
    """A message that was delayed behind the undo is recognised by its number."""
    snapshot = Snapshot()
    snapshot.apply([block(seq=2, status=ActionStatus.REVOKED)], 2)
    snapshot.apply([block(seq=1)], 1)
    assert snapshot.check("203.0.113.9", NOW) is None
    assert snapshot.seq == 2


def test_a_complete_list_replaces_everything() -> None:
    """What is not on the list is no longer in force, and what was before the list cannot return."""
    snapshot = snapshot_of(block("b1"))
    snapshot.apply([block("b2", "203.0.113.10", seq=4)], 9, complete=True)
    snapshot.apply([block("b1", seq=3), block("b3", "203.0.113.11", seq=10)], 10)
    assert snapshot.check("203.0.113.9", NOW) is None
    assert snapshot.check("203.0.113.10", NOW) is not None
    assert snapshot.check("203.0.113.11", NOW) is not None


def test_nothing_known_is_not_nothing_blocked() -> None:
    """A snapshot that never heard from the service says so; an empty list is an answer."""
    assert Snapshot().seq is None
    assert snapshot_of().seq == 1


def test_what_expired_long_ago_is_forgotten() -> None:
    """Memory is bounded even if the service never says that a block is over; nothing in force goes."""
    snapshot = snapshot_of(block("b1", expires=NOW), block("b2", expires=NOW + 1), block("b3"))
    snapshot.forget(NOW)
    assert len(snapshot) == 2
    assert snapshot.check("203.0.113.9", NOW) is not None


def test_ended_blocks_are_remembered_in_bounded_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """A million undone blocks cost no more memory than the most recent ones."""
    monkeypatch.setattr("sentinel.enforcement.snapshot._ENDED_KEPT", 10)
    snapshot = Snapshot()
    for seq in range(100):
        snapshot.apply([block(f"b{seq}", seq=seq, status=ActionStatus.REVOKED)], seq)
    assert len(snapshot._books.ended) == 10


@pytest.mark.parametrize("junk", ["", "grace.fox", "203.0.113", "203.0.113.09", "203.0.113.0/24", "::ffff:1.2.3"])
def test_junk_is_no_address(junk: str) -> None:
    """A typing error must not be answered with "not blocked"."""
    with pytest.raises(ValueError, match="address"):
        Snapshot().check(junk, NOW)


def test_addresses_with_endless_zones_share_one_entry() -> None:
    """A stranger cannot fill the memory of the parser with zones."""
    assert parse_address("2001:db8::5%" + "a" * 9999) is parse_address("2001:db8::5")


def test_a_block_in_force_holds_while_it_is_extended() -> None:
    """A reader in another thread never sees a gap between the old and the new version of a block."""
    snapshot = snapshot_of(block())
    stop = threading.Event()

    def extend() -> None:
        seq = 2
        while not stop.is_set():
            snapshot.apply([block(seq=seq, expires=NOW + seq)], seq)
            seq += 1

    writer = threading.Thread(target=extend)
    writer.start()
    gaps = sum(snapshot.check("203.0.113.9", NOW) is None for _ in range(50_000))
    stop.set()
    writer.join()
    assert gaps == 0


def test_a_saved_snapshot_comes_back_whole(tmp_path: Path) -> None:
    """Everything that a restart needs is in the file, readable by its owner alone."""
    path = tmp_path / "snapshot"
    snapshot = Snapshot()
    snapshot.apply([block(), block("b2", "ip:2001:db8::/64", action_type="rate_limit", limit=3, expires=NOW + 9)], 77)
    snapshot.save(path)
    loaded = Snapshot.load(path)
    assert loaded.seq == 77
    assert loaded.check("203.0.113.9", NOW) == snapshot.check("203.0.113.9", NOW)
    assert loaded.check("2001:db8::5", NOW) == snapshot.check("2001:db8::5", NOW)
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_snapshot_that_knows_nothing_stays_so(tmp_path: Path) -> None:
    """Saving before the first contact does not turn "unknown" into "no blocks"."""
    Snapshot().save(tmp_path / "snapshot")
    assert Snapshot.load(tmp_path / "snapshot").seq is None


def test_a_missing_file_is_told_from_a_damaged_one(tmp_path: Path) -> None:
    """The first start is no accident."""
    with pytest.raises(FileNotFoundError):
        Snapshot.load(tmp_path / "snapshot")


def test_every_damaged_byte_is_noticed_and_the_file_set_aside(tmp_path: Path) -> None:
    """Damage anywhere is named, kept for inspection, and never read as an empty list."""
    path, aside = tmp_path / "snapshot", tmp_path / "snapshot.damaged"
    snapshot_of(block()).save(path)
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        path.write_bytes(damaged)
        with pytest.raises(OutsideError, match=r"snapshot\.damaged") as caught:
            Snapshot.load(path)
        assert not caught.value.retryable
        assert aside.read_bytes() == damaged
        assert not path.exists()


@pytest.mark.parametrize("kept", [0, 1, 50, -1])
def test_a_truncated_file_is_damaged(tmp_path: Path, kept: int) -> None:
    """A file cut short, down to nothing, is not an empty list."""
    path = tmp_path / "snapshot"
    snapshot_of(block()).save(path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(OutsideError):
        Snapshot.load(path)


def test_a_failed_save_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk refuses, what was saved before still loads and no half file lies about."""
    path = tmp_path / "snapshot"
    snapshot_of(block()).save(path)

    def refuse(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(OSError, match="No space"):
        snapshot_of().save(path)
    monkeypatch.undo()
    assert Snapshot.load(path).check("203.0.113.9", NOW) is not None
    assert list(tmp_path.iterdir()) == [path]
