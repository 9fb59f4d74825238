"""Whose request it is, when proxies stand between and headers may lie."""

import pytest

from sentinel.enforcement.client import Proxies, client_address
from sentinel.errors import ConfigError

PROXIES = Proxies(["10.0.0.0/24", "2001:db8:feed::/48"])
PROXY, FAR_PROXY, STRANGER = "10.0.0.1", "10.0.0.2", "203.0.113.9"


def address(peer: str | None, *forwarded: str, proxies: Proxies = PROXIES) -> str | None:
    headers = [(b"host", b"x"), *((b"x-forwarded-for", value.encode("latin-1")) for value in forwarded)]
    return client_address({"client": None if peer is None else (peer, 4711), "headers": headers}, proxies)


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        # Nobody between: the header is the client's invention.
        (STRANGER, [], STRANGER),
        (STRANGER, ["198.51.100.7"], STRANGER),
        ("::ffff:203.0.113.9", [], STRANGER),
        ("2001:DB8::0009", [], "2001:db8::9"),
        ("fe80::9%eth0", [], "fe80::9"),
        # Behind trusted proxies: the rightmost that is not one of them.
        (PROXY, [STRANGER], STRANGER),
        ("::ffff:10.0.0.1", [STRANGER], STRANGER),
        (PROXY, [f"198.51.100.7, {STRANGER}"], STRANGER),
        (PROXY, [f"198.51.100.7, {STRANGER}, {FAR_PROXY}"], STRANGER),
        (PROXY, ["2001:db8::9, 2001:db8:feed::1"], "2001:db8::9"),
        (PROXY, ["::ffff:203.0.113.9"], STRANGER),
        (PROXY, [f"  {STRANGER}\t"], STRANGER),
        # Repeated headers are one list, in their order.
        (PROXY, ["198.51.100.7", STRANGER], STRANGER),
        (PROXY, [STRANGER, FAR_PROXY], STRANGER),
        # Ports, as some proxies write them.
        (PROXY, [f"{STRANGER}:8080"], STRANGER),
        (PROXY, ["[2001:db8::9]:8080"], "2001:db8::9"),
        (PROXY, ["[2001:db8::9]"], "2001:db8::9"),
        # Nothing to go by, or rubbish: the nearest hop that a proxy vouches for.
        (PROXY, [], PROXY),
        (PROXY, [""], PROXY),
        (PROXY, [" , ,"], PROXY),
        (PROXY, [f"{STRANGER}, ,"], STRANGER),
        (PROXY, ["unknown"], PROXY),
        (PROXY, ["\xff\xfe"], PROXY),
        (PROXY, [f"{STRANGER}, junk, {FAR_PROXY}"], FAR_PROXY),
        (PROXY, [f"junk, {STRANGER}"], STRANGER),
        (PROXY, [FAR_PROXY], FAR_PROXY),
        # Unix sockets have no address, whatever the header claims.
        (None, [], None),
        (None, [STRANGER], None),
        ("", [STRANGER], None),
        ("/run/app.sock", [], None),
    ],
)
def test_the_client_is_the_first_address_that_nobody_trusted_wrote(
    peer: str | None, forwarded: list[str], expected: str | None
) -> None:
    """A client can neither hide behind an invented address nor have somebody else blocked."""
    assert address(peer, *forwarded) == expected


def test_a_unix_socket_peer_can_be_trusted() -> None:
    """A reverse proxy on the same machine may hand requests over a socket."""
    proxies = Proxies(["unix", "10.0.0.2"])
    assert address(None, STRANGER, proxies=proxies) == STRANGER
    assert address(None, f"{STRANGER}, {FAR_PROXY}", proxies=proxies) == STRANGER
    assert address(None, proxies=proxies) is None


def test_nobody_is_trusted_by_default() -> None:
    """Without configuration the header is ignored whole."""
    assert address("127.0.0.1", STRANGER, proxies=Proxies(())) == "127.0.0.1"


def test_a_proxy_that_is_no_network_is_refused() -> None:
    """A slip in the list is reported at start, not discovered as a block on the wrong address."""
    with pytest.raises(ConfigError, match="trusted_proxies"):
        Proxies(["proxy.internal"])


def test_a_missing_client_is_like_a_unix_socket() -> None:
    """ASGI allows servers to leave the key out."""
    assert client_address({"headers": []}, PROXIES) is None
