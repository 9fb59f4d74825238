"""For any blocks and any order of changes the snapshot answers as the definition does."""

from collections.abc import Callable
from ipaddress import IPv6Address, ip_address, ip_network

from hypothesis import given
from hypothesis import strategies as st

from sentinel.enforcement.snapshot import Block, Snapshot, parse_address
from sentinel.model import ActionStatus, Severity

NOW = 50
# Few addresses near one another, so that blocks overlap, repeat and follow one another.
ADDRESSES = st.one_of(
    st.integers(0, 63).map(lambda n: f"203.0.113.{n}"),
    st.integers(0, 63).map(lambda n: f"2001:db8::{n:x}"),
)
TARGETS = st.builds(
    lambda address, host_bits: str(
        ip_network(f"{address}/{ip_address(address).max_prefixlen - host_bits}", strict=False)
    ),
    ADDRESSES,
    st.integers(0, 8),
)


@st.composite
def changes_in_order(draw: st.DrawFn) -> list[Block]:
    """Return changes of up to six blocks, numbered from 1."""
    count = draw(st.integers(0, 12))
    return [
        Block(
            id=draw(st.sampled_from("abcdef")),
            seq=seq,
            action_type="ip_block",
            target=draw(TARGETS),
            status=draw(st.sampled_from(ActionStatus)),
            expires=draw(st.none() | st.integers(NOW - 1, NOW + 1)),
            reason="r",
            severity=Severity.HIGH,
        )
        for seq in range(1, count + 1)
    ]


def in_force(changes: list[Block], address: str) -> set[str]:
    """The definition: each block's latest change, if it is active, has not expired, and contains the address."""
    latest = {change.id: change for change in changes}
    return {
        block.id
        for block in latest.values()
        if block.status is ActionStatus.ACTIVE
        and (block.expires is None or block.expires > NOW)
        and ip_address(address) in ip_network(block.target)
    }


@given(st.data())
def test_order_repetition_and_batches_do_not_matter(data: st.DataObject) -> None:
    """Changes that come twice, shuffled and in any pieces leave what they leave in order."""
    changes = data.draw(changes_in_order())
    sent = data.draw(
        st.permutations(changes + data.draw(st.lists(st.sampled_from(changes)) if changes else st.just([])))
    )
    snapshot = Snapshot()
    while sent:
        size = data.draw(st.integers(1, len(sent)))
        snapshot.apply(sent[:size], max(change.seq for change in sent[:size]))
        sent = sent[size:]
    address = data.draw(ADDRESSES)
    found = snapshot.check(address, NOW)
    expected = in_force(changes, address)
    assert (found.id in expected) if found else not expected
    assert snapshot.seq == (len(changes) or None)


@given(changes_in_order(), st.integers(0, 12), ADDRESSES)
def test_a_complete_list_and_what_follows_equal_all_changes(changes: list[Block], at: int, address: str) -> None:
    """A node that joins late, with the list of that moment and the changes after it, agrees with one that saw all."""
    before, after = changes[:at], changes[at:]
    latest = {change.id: change for change in before}
    active = [change for change in latest.values() if change.status is ActionStatus.ACTIVE]
    snapshot = Snapshot()
    snapshot.apply(active, len(before), complete=True)
    snapshot.apply(after + before, len(changes))
    found = snapshot.check(address, NOW)
    expected = in_force(changes, address)
    assert (found.id in expected) if found else not expected


NEARLY_ADDRESSES = st.one_of(
    st.ip_addresses().map(str),
    st.ip_addresses(v=6).map(lambda address: address.exploded),
    st.ip_addresses(v=4).map(lambda address: f"::ffff:{address}"),
    st.text("0123456789.", max_size=15),
    st.text("0123456789abcdefF:.", max_size=20),
    st.text(max_size=10).filter(lambda text: "%" not in text),
)


@given(NEARLY_ADDRESSES)
def test_addresses_are_read_as_the_standard_library_reads_them(text: str) -> None:
    """What is an address, and which one, is decided as strictly as `ipaddress` does, for any text."""
    assert outcome(parse_address, text) == outcome(unwrapped, text)


def unwrapped(text: str) -> object:
    address = ip_address(text)
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def outcome(parse: Callable[[str], object], text: str) -> object:
    try:
        return parse(text)
    except ValueError:
        return "no address"
