"""The audit chain: what each way of tampering leaves behind, and what can't be told without an anchor."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec
import pytest

from sentinel.audit import GENESIS, Checkpoint, Entry, Kind, Report, Status, link, seal, verify

KEY, OTHER_KEY = b"k" * 32, b"o" * 32
START = 1_790_000_000_000_000

Log = list[Entry]
Anchor = list[Checkpoint]


def written(count: int, *, head: bytes = GENESIS, first: int = 1, word: str = "create") -> Log:
    """Return entries as the service writes them."""
    log: Log = []
    for seq in range(first, first + count):
        fields = (seq, START + seq, "admin", f"ip_block.{word}", f"203.0.113.{seq}", f'{{"reason":"{seq}"}}')
        head = link(head, fields)
        log.append(Entry(*fields, head))
    return log


def anchored(log: Sequence[Entry], *sizes: int, key: bytes = KEY) -> Anchor:
    """Return the checkpoints that the service makes of a log at these sizes."""
    anchor: Anchor = []
    for size in sizes:
        root = log[size - 1].hash if size else GENESIS
        before = anchor[-1] if anchor else None
        anchor.append(seal(key, origin="log", size=size, root=root, time=START + size, before=before))
    return anchor


LOG = written(50)
ANCHOR = anchored(LOG, 10, 30, 50)


def judge(log: Sequence[Entry], anchor: Sequence[Checkpoint] = ANCHOR) -> Report:
    return verify(log, anchor, [KEY])


def rebuilt(log: Sequence[Entry]) -> Log:
    """Return a log computed anew, as whoever may write the store can do."""
    head, fresh = GENESIS, []
    for seq, entry in enumerate(log, 1):
        fields = (seq, *entry[1:6])
        head = link(head, fields)
        fresh.append(Entry(*fields, head))
    return fresh


def edited(log: Sequence[Entry], place: int = 20) -> Log:
    return [*log[:place], log[place]._replace(actor="nobody"), *log[place + 1 :]]


def rehashed(log: Sequence[Entry]) -> Log:
    """One row is changed and its own hash computed again."""
    changed = edited(log)
    changed[20] = changed[20]._replace(hash=link(log[19].hash, changed[20][:6]))
    return changed


TAMPERING: dict[str, Callable[[Log], Log]] = {
    "a field is edited": edited,
    "a field is edited and its row hashed again": rehashed,
    "one in the middle is deleted": lambda log: [*log[:20], *log[21:]],
    "the first is deleted": lambda log: log[1:],
    "the tail is cut off": lambda log: log[:45],
    "one is inserted": lambda log: [*log[:20], log[20]._replace(actor="mallory"), *log[20:]],
    "two change places": lambda log: [*log[:20], log[21], log[20], *log[22:]],
    "one is repeated": lambda log: [*log[:21], log[20], *log[21:]],
    "all is computed anew": lambda log: rebuilt(edited(log)),
    "yesterday's backup comes back": lambda log: log[:30],
    "the table is emptied": lambda _: [],
    "yesterday's backup comes back and goes on": lambda log: [
        *log[:30],
        *written(30, head=log[29].hash, first=31, word="revoke"),
    ],
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_is_found(name: str) -> None:
    """Whatever is done to the store after the anchor saw it, the comparison shows it."""
    report = judge(TAMPERING[name](list(LOG)))
    assert report.status is Status.TAMPERED
    assert report.problems


def test_sealing_again_with_todays_key_is_found() -> None:
    """Who has broken in has the key too, but not the anchor's older lines."""
    forged = rebuilt(edited(LOG))
    line = seal(KEY, origin="log", size=50, root=forged[-1].hash, time=START, before=ANCHOR[-1])
    assert judge(forged, [*ANCHOR, line]).status is Status.TAMPERED


def test_an_untouched_log_is_verified() -> None:
    """No false alarm; what came after the last checkpoint is said."""
    assert judge(LOG).status is Status.VERIFIED
    longer = judge([*LOG, *written(3, head=LOG[-1].hash, first=51)])
    assert (longer.status, longer.anchored, longer.size) == (Status.VERIFIED, 50, 53)
    assert "51 to 53" in longer.notes[0]


def test_without_an_anchor_it_says_what_it_can_not_rule_out() -> None:
    """A chain computed anew looks the same as an honest one."""
    for log in (LOG, rebuilt(edited(LOG)), LOG[:30], []):
        report = judge(log, [])
        assert report.status is Status.UNANCHORED
        assert "can't rule out" in report.notes[0]
    assert judge(edited(LOG), []).status is Status.TAMPERED


@pytest.mark.parametrize("number", range(50))
def test_each_flipped_bit_is_found(number: int) -> None:
    """Not one bit of an entry can change unseen."""
    entry = LOG[number]
    for place, value in enumerate(entry):
        raw = value.to_bytes(8) if isinstance(value, int) else value if isinstance(value, bytes) else value.encode()
        for bit in range(len(raw) * 8):
            changed = bytearray(raw)
            changed[bit // 8] ^= 1 << bit % 8
            other: object = bytes(changed)
            if isinstance(value, int):
                other = int.from_bytes(changed)
            elif isinstance(value, str):
                other = changed.decode("latin-1")
            fields = [*entry]
            fields[place] = other  # type: ignore[call-overload]  # any type may stand in any column
            tampered = [*LOG[:number], Entry(*fields), *LOG[number + 1 :]]
            assert verify(tampered, ANCHOR).status is Status.TAMPERED


@pytest.mark.parametrize("junk", [None, -1, 2**70, "text", b"bytes", 1.5])
@pytest.mark.parametrize("place", range(7))
def test_junk_in_a_column_is_tampering_and_no_crash(place: int, junk: object) -> None:
    """SQLite keeps any type in any column, so a verification meets anything."""
    fields = [*LOG[20]]
    fields[place] = junk  # type: ignore[call-overload]  # on purpose
    if place == 0 and not isinstance(junk, int):
        return  # an integer primary key is the one column that SQLite does keep clean
    assert judge([*LOG[:20], Entry(*fields), *LOG[21:]]).status is Status.TAMPERED


def test_the_anchor_itself_can_not_be_forged_without_the_key() -> None:
    """A line of the anchor is signed and names the one before it."""
    cut = [ANCHOR[0], ANCHOR[2]]
    edited_line = msgspec.structs.replace(ANCHOR[1], time=START)
    foreign = anchored(LOG, 10, 30, 50, key=OTHER_KEY)
    forged = msgspec.structs.replace(foreign[2], key_id=ANCHOR[2].key_id)
    for anchor in (cut, [ANCHOR[0], edited_line, ANCHOR[2]], foreign, [*ANCHOR[:2], forged]):
        assert judge(LOG, anchor).status is Status.TAMPERED
    assert verify(LOG, [*ANCHOR, *foreign], [KEY, OTHER_KEY]).status is Status.TAMPERED


def test_a_new_key_goes_on_where_the_old_one_ended() -> None:
    """Keys are changed now and then; the old one is still given to verify what it signed."""
    line = seal(OTHER_KEY, origin="log", size=50, root=LOG[-1].hash, time=START, before=ANCHOR[-1])
    assert verify(LOG, [*ANCHOR, line], [KEY, OTHER_KEY]).status is Status.VERIFIED
    assert verify(LOG, [*ANCHOR, line], [KEY]).status is Status.TAMPERED


def test_a_key_that_was_replaced_signs_nothing_any_more() -> None:
    """Whoever stole the old key can neither go on after the new one's lines nor put its own in their place."""
    new = seal(OTHER_KEY, origin="log", size=50, root=LOG[-1].hash, time=START, before=ANCHOR[-1])
    back = seal(KEY, origin="log", size=50, root=LOG[-1].hash, time=START, before=new)
    told = verify(LOG, [*ANCHOR, new, back], [KEY, OTHER_KEY])
    assert (told.status, "signed by a key that had been replaced" in told.problems[0]) == (Status.TAMPERED, True)
    told = verify(LOG, ANCHOR, [KEY, OTHER_KEY])
    assert (told.status, "newest key" in told.problems[0]) == (Status.TAMPERED, True)


def test_without_a_key_nothing_is_called_verified() -> None:
    """An anchor whose signatures nobody checked could have been made anew together with the log."""
    forged = rebuilt(edited(LOG))
    for log, anchor in ((LOG, ANCHOR), (forged, anchored(forged, 10, 30, 50, key=OTHER_KEY))):
        told = verify(log, anchor)
        assert (told.status, "weren't checked" in told.notes[0]) == (Status.UNSIGNED, True)
    assert judge(forged, anchored(forged, 10, 30, 50, key=OTHER_KEY)).status is Status.TAMPERED


def test_retention_leaves_a_signed_line() -> None:
    """Deleted by rule is not deleted by stealth: the rest is verified, and what is gone is said."""
    line = seal(KEY, origin="log", size=30, root=LOG[29].hash, time=START, before=ANCHOR[-1], kind=Kind.PRUNED)
    report = judge(LOG[30:], [*ANCHOR, line])
    assert report.status is Status.VERIFIED
    assert "1 to 30" in report.notes[0]
    assert judge(LOG[31:], [*ANCHOR, line]).status is Status.TAMPERED
    assert judge(LOG[30:]).status is Status.TAMPERED


def test_a_backup_brought_back_by_us_is_said_to_be_older() -> None:
    """A restore is no tampering, yet what it lost is named, and the log goes on from there."""
    line = seal(KEY, origin="log", size=40, root=LOG[39].hash, time=START, before=ANCHOR[-1], kind=Kind.RESTORED)
    goes_on = [*LOG[:40], *written(5, head=LOG[39].hash, first=41, word="revoke")]
    report = judge(goes_on, [*ANCHOR, line])
    assert report.status is Status.VERIFIED
    assert "41 to 50" in report.notes[0]
    assert judge(goes_on).status is Status.TAMPERED
