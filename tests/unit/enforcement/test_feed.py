"""The feed keeps a snapshot equal to what the service says, through trouble and restarts."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sentinel.enforcement.feed import Feed, now_micros
from sentinel.enforcement.snapshot import Snapshot
from sentinel.errors import ConfigError
from sentinel.model import micros_of_iso

Eventually = Callable[[Callable[[], object]], None]
Follow = Callable[..., tuple[Feed, Snapshot]]


@pytest.fixture
def follow(service: Any) -> Iterator[Follow]:
    """Start a feed on the service; stop it at the end."""
    feeds = []

    def start(
        snapshot: Snapshot | None = None, token: str | Path = service.token, **options: Any
    ) -> tuple[Feed, Snapshot]:
        snapshot = snapshot or Snapshot()
        feed = Feed(snapshot, service.url, token, **options)
        feeds.append(feed)
        feed.start()
        return feed, snapshot

    yield start
    for feed in feeds:
        feed.stop()


def blocks(snapshot: Snapshot, address: str) -> bool:
    return snapshot.check(address, now_micros()) is not None


def test_what_is_in_force_comes_at_once_and_news_follow(service: Any, follow: Follow, eventually: Eventually) -> None:
    """A new node learns the whole list, then each change, an undo included."""
    service.publish("b1", "203.0.113.9")
    feed, snapshot = follow()
    assert feed.wait_until_heard(10)
    assert blocks(snapshot, "203.0.113.9")
    service.publish("b2", "2001:db8:1:2::/64")
    eventually(lambda: blocks(snapshot, "2001:db8:1:2::5"))
    service.publish("b1", "203.0.113.9", status="revoked")
    eventually(lambda: not blocks(snapshot, "203.0.113.9"))
    assert snapshot.seq == 3


def test_the_wire_is_understood(service: Any, follow: Follow) -> None:
    """Text becomes a time, a kind and a figure once, here; a permanent block stays permanent (D8, D9)."""
    service.publish("b1", "203.0.113.9", expiration="2199-01-01T00:00:00Z", evidence={"limit": 3}, incident_id="i1")
    service.publish("b2", "203.0.113.10", expiration=None, evidence={"limit": "many"})
    feed, snapshot = follow()
    feed.wait_until_heard(10)
    first, second = snapshot.check("203.0.113.9", 0), snapshot.check("203.0.113.10", 0)
    assert first is not None
    assert second is not None
    assert (first.expires, first.limit, first.seq) == (micros_of_iso("2199-01-01T00:00:00+00:00"), 3, 1)
    assert (second.expires, second.limit, str(second.severity)) == (None, 10, "HIGH")


def test_it_asks_for_what_it_does_not_know(service: Any, follow: Follow, eventually: Eventually) -> None:
    """Each question names the last known change, the time to wait and the node, so that the service can show it."""
    service.publish("b1", "203.0.113.9")
    follow(node="web-1")
    eventually(lambda: len(service.asked) >= 2)
    assert service.asked[0] == {"since": "0", "wait": "2", "node": "web-1"}
    assert service.asked[1]["since"] == "1"


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        ((500, b"oops"), "the service answered 500"),
        ((307, b""), "the service answered 307"),
        ((200, b"<html>"), "DecodeError"),
        ((200, b'{"seq": 1}'), "ValidationError"),
        ((200, b'{"seq": 2, "complete": true, "items": [{"id": "b9"}]}'), "ValidationError"),
    ],
)
def test_trouble_is_visible_and_blocks_stay_in_force(
    service: Any, follow: Follow, eventually: Eventually, broken: tuple[int, bytes], told: str
) -> None:
    """A broken answer changes nothing that is known, and the feed recovers by itself (D11)."""
    service.publish("b1", "203.0.113.9")
    feed, snapshot = follow()
    feed.wait_until_heard(10)
    service.broken = broken
    eventually(lambda: feed.last_error)
    assert told in str(feed.last_error)
    assert blocks(snapshot, "203.0.113.9")
    service.broken = None
    service.publish("b2", "203.0.113.10")
    eventually(lambda: blocks(snapshot, "203.0.113.10"))
    eventually(lambda: feed.last_error is None)


def test_age_says_how_long_ago_the_service_answered(service: Any, follow: Follow, eventually: Eventually) -> None:
    """Never is not the same as long ago, and a failure does not make the news look fresh."""
    service.broken = (500, b"")
    feed, _ = follow()
    eventually(lambda: feed.last_error)
    assert feed.age_seconds is None
    service.broken = None
    assert feed.wait_until_heard(10)
    assert feed.age_seconds is not None
    service.broken = (500, b"")
    eventually(lambda: feed.last_error)
    before = feed.age_seconds
    eventually(lambda: (feed.age_seconds or 0) > before + 0.05)


def test_a_service_that_is_away_is_an_error_not_an_empty_list() -> None:
    """Nobody listens: nothing is known, and it is said."""
    feed = Feed(snapshot := Snapshot(), "http://127.0.0.1:1", "t")
    feed.start()
    assert not feed.wait_until_heard(0.2)
    feed.stop()
    assert feed.last_error == "ConnectError while asking the service"
    assert snapshot.seq is None


def test_a_refused_token_is_told_without_the_token(service: Any, follow: Follow, eventually: Eventually) -> None:
    """The error names the status; secrets stay out of what people paste into tickets."""
    feed, _ = follow(token="sntl_enforcer_wrong")
    eventually(lambda: feed.last_error)
    assert feed.last_error == "the service answered 401"


def test_a_token_file_may_change_while_it_runs(
    service: Any, follow: Follow, eventually: Eventually, tmp_path: Path
) -> None:
    """Rotating the token needs no restart; a missing file is an error like any other."""
    path = tmp_path / "token"
    feed, _ = follow(token=path)
    eventually(lambda: "FileNotFoundError" in (feed.last_error or ""))
    path.write_text("old\n")
    eventually(lambda: feed.last_error == "the service answered 401")
    path.write_text(f"{service.token}\n")
    assert feed.wait_until_heard(10)


@pytest.mark.parametrize("says_complete", [True, False])
def test_a_service_that_starts_afresh_replaces_the_list(
    service: Any, follow: Follow, eventually: Eventually, says_complete: bool
) -> None:
    """Numbers that go back mean another history: the old blocks are not mixed into it."""
    service.says_complete = says_complete
    for n in range(5):
        service.publish(f"b{n}", f"203.0.113.{n}")
    _, snapshot = follow()
    eventually(lambda: snapshot.seq == 5)
    service.restart_empty()
    eventually(lambda: snapshot.seq == 0)
    assert len(snapshot) == 0


def test_the_snapshot_is_saved_and_a_restart_goes_on_from_it(
    service: Any, follow: Follow, eventually: Eventually, tmp_path: Path
) -> None:
    """What was in force is on the disk, at the latest when the feed stops."""
    path = tmp_path / "snapshot"
    feed, _ = follow(snapshot_path=path)
    feed.wait_until_heard(10)
    service.publish("b1", "203.0.113.9")
    service.publish("b2", "203.0.113.10")
    eventually(lambda: len(service.asked) and service.asked[-1]["since"] == "2")
    feed.stop()
    loaded = Snapshot.load(path)
    assert loaded.seq == 2
    service.asked.clear()
    follow(snapshot=loaded)
    eventually(lambda: service.asked)
    assert service.asked[0]["since"] == "2"


def test_a_disk_that_refuses_is_told_and_the_feed_goes_on(
    service: Any, follow: Follow, eventually: Eventually, tmp_path: Path
) -> None:
    """Without a place to save, new blocks are still enforced."""
    feed, snapshot = follow(snapshot_path=tmp_path / "absent" / "snapshot")
    service.publish("b1", "203.0.113.9")
    eventually(lambda: "FileNotFoundError" in (feed.last_error or ""))
    service.publish("b2", "203.0.113.10")
    eventually(lambda: blocks(snapshot, "203.0.113.10"))


def test_start_and_stop_may_be_repeated(service: Any, follow: Follow, eventually: Eventually) -> None:
    """Starting twice gives one thread; after a stop nothing is asked, and a new start follows on."""
    feed, snapshot = follow()
    thread = feed._thread
    feed.start()
    assert feed._thread is thread
    feed.stop()
    feed.stop()
    asked = len(service.asked)
    service.publish("b1", "203.0.113.9")
    assert len(service.asked) == asked
    feed.start()
    eventually(lambda: blocks(snapshot, "203.0.113.9"))


def test_stopping_what_never_started_is_fine() -> None:
    """An application that fails early shuts down all the same."""
    Feed(Snapshot(), "http://127.0.0.1:1", "t").stop()


@pytest.mark.parametrize("url", ["", "sentinel:8000", "ftp://sentinel"])
def test_an_address_that_cannot_be_asked_is_refused(url: str) -> None:
    """A slip in the configuration shows at start, not as silence."""
    with pytest.raises(ConfigError, match="http://"):
        Feed(Snapshot(), url, "t")
