"""What holds for any input of the ingest room: nothing breaks and nothing is lost."""

import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sentinel.errors import RejectedEvent
from sentinel.ingest.events import Parsed, decode, encode, parse_json, parse_ndjson
from sentinel.ingest.sshd import Reader

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LOGIN = {"event_type": "authentication", "severity": "low", "timestamp": "2026-03-01T10:00:00Z"}

text = st.text(st.characters(exclude_categories=["Cs"]))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=12,
)
json_like = st.text(st.sampled_from('[]{},:" \\\nnaNtrue01-.eE')).map(str.encode)
PIECES = (
    "Failed password for |Accepted |Invalid user |invalid user | from |198.51.100.7| port 22| ssh2|: |\n|x|]| [preauth]"
    "|Unable to negotiate with |no matching MAC found|message repeated 3 times: [ "
)
hostile_lines = st.lists(st.sampled_from(PIECES.split("|")) | st.text(max_size=5), max_size=12).map("".join)


def new_id() -> str:
    return "made"


def parsed(body: bytes) -> Parsed:
    try:
        return parse_json(body, new_id)
    except RejectedEvent:
        return Parsed([], [])


@given(st.binary() | json_like)
def test_no_body_breaks_the_parser(body: bytes) -> None:
    """Any bytes give events, reasons, or one error of ours; every line of NDJSON is in one of the two lists."""
    for event in parsed(body).events:
        assert decode(encode(event[1])) == event[1]
    lines = [number for number, line in enumerate(body.removeprefix(b"\xef\xbb\xbf").split(b"\n"), 1) if line.strip()]
    result = parse_ndjson(body, new_id)
    assert sorted([line for line, _ in result.events] + [rejected.line for rejected in result.rejected]) == lines


@given(st.lists(json_values), st.integers(min_value=0), json_like)
def test_good_elements_survive_any_neighbour(elements: list[Any], place: int, junk: bytes) -> None:
    """A valid event is accepted whatever JSON stands around it, and whatever stands on the lines around it."""
    place %= len(elements) + 1
    elements.insert(place, LOGIN)
    result = parse_json(json.dumps(elements).encode(), new_id)
    assert place + 1 in [line for line, _ in result.events]
    assert len(result.events) + len(result.rejected) == len(elements)
    line = junk.count(b"\n") + 2
    assert line in [
        number for number, _ in parse_ndjson(junk + b"\n" + json.dumps(LOGIN).encode() + b"\n" + junk, new_id).events
    ]


@given(st.dictionaries(text, json_values), st.dictionaries(text, json_values))
def test_nothing_that_was_sent_is_lost(details: dict[str, Any], unknown: dict[str, Any]) -> None:
    """Details and unknown fields come back from the store exactly as they were sent."""
    unknown = {f"x-{name}": value for name, value in unknown.items()}
    details.pop("extra", None)
    (_, event), *_ = parse_json(json.dumps(unknown | LOGIN | {"details": details}).encode(), new_id).events
    stored = decode(encode(event))
    assert stored == event
    assert stored.details == (details | {"extra": unknown} if unknown else details)


@given(st.lists(hostile_lines.map("Nov 20 03:04:05 bastion sshd[812]: ".__add__) | st.text()))
def test_every_line_is_accounted_for(lines: list[str]) -> None:
    """No line breaks the reader; each gives events or is counted, and reading again gives the same storable events."""
    readers = [Reader(now=NOW), Reader(now=NOW)]
    events, again = ([list(reader.read([line])) for line in lines] for reader in readers)
    assert events == again
    assert sum(map(bool, events)) + readers[0].ignored + readers[0].unknown == readers[0].lines == len(lines)
    found = [event for several in events for event in several]
    assert len({event.event_id for event in found}) == len(found)
    assert [decode(encode(event)) for event in found] == found
