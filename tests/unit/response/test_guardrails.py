"""The guard rails: canonical targets, and those that nobody may block."""

from ipaddress import ip_network

import pytest

from sentinel.response.guardrails import GuardRails, normalise, protected, spelling

RAILS = GuardRails(
    allow_list=(ip_network("198.51.100.7/32"), ip_network("2001:db8:aaaa::/48")),
    trusted_proxies=(ip_network("10.0.0.0/24"),),
    own_addresses=(ip_network("192.0.2.1/32"),),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("203.0.113.9/32", "203.0.113.9"),
        ("203.0.113.9/24", "203.0.113.0/24"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("::ffff:cb00:7109", "203.0.113.9"),
        ("::ffff:10.1.0.0/112", "10.1.0.0/16"),
        ("2001:0DB8:0:0::1", "2001:db8::1"),
        ("2001:db8:1:2:3:4:5:6/64", "2001:db8:1:2::/64"),
    ],
)
def test_each_target_has_one_spelling(text: str, expected: str) -> None:
    """Spellings of the same address or network become one, so that a block holds for all of them."""
    assert spelling(normalise(text)) == expected


@pytest.mark.parametrize("text", ["", "grace.fox", "203.0.113", "203.0.113.09", "203.0.113.9/33", " 203.0.113.9", "1"])
def test_what_is_no_address_is_refused_with_advice(text: str) -> None:
    """The message shows how to write a target, since the text itself may be private and is left out."""
    with pytest.raises(ValueError, match=r"write it like 203\.0\.113\.9"):
        normalise(text)


def test_a_zone_is_refused() -> None:
    """A zone names an interface of one machine; a block for all nodes cannot carry one."""
    with pytest.raises(ValueError, match="leave out the %"):
        normalise("fe80::1%eth0")


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.9.10", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("::", "unspecified"),
        ("224.0.0.251", "multicast"),
        ("ff02::1", "multicast"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("255.255.255.255", "broadcast"),
        ("126.0.0.0/7", "wider than /8"),
        ("0.0.0.0/0", "wider than /8"),
        ("::/0", "wider than /32"),
        ("2001:c00::/31", "wider than /32"),
        ("198.51.100.7", "allow-list"),
        ("198.51.100.0/24", "allow-list"),
        ("2001:db8:aaaa:1::/64", "allow-list"),
        ("2001:db8::/32", "allow-list"),
        ("10.0.0.5", "trusted proxy"),
        ("10.0.0.0/8", "trusted proxy"),
        ("192.0.2.1", "own addresses"),
    ],
)
def test_protected_targets_are_refused_with_the_reason(target: str, reason: str) -> None:
    """One forged event or slip of the hand must not block the proxy, localhost or a friend (D12)."""
    assert reason in (protected(normalise(target), RAILS) or "")


@pytest.mark.parametrize(
    "target",
    [
        "203.0.113.9",
        "10.0.1.1",
        "192.168.3.4",
        "172.16.0.0/12",
        "11.0.0.0/8",
        "2001:db8:1:2::/64",
        "2001:db9::/32",
        "fd00::1",
    ],
)
def test_other_targets_may_be_blocked(target: str) -> None:
    """Private and documentation ranges are ordinary targets: attackers inside have such addresses."""
    assert protected(normalise(target), RAILS) is None
