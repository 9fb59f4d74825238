"""
Run every benchmark, print one table, and write it to docs/reference/measured.md.

    python benchmarks/run_all.py [LOG LABELS]

LOG is an sshd log for logs_peers.py, which makes one without. Takes some minutes. The figures are of one run on this
machine, whatever else it was doing.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "reference" / "measured.md"
Row = tuple[str, str, str]
Figures = dict[str, Any]

PREFACE = """# Figures

`make bench` wrote this page on {date}. The figures are of one run, on one machine that did other things as well; they
say what to expect in order of magnitude, not what is guaranteed. Clients and servers shared its cores.

Machine: {machine}.

"""


def scans(figures: Figures) -> Iterator[Row]:
    for size, taken in figures["sizes"].items():
        text = f"mixed texts of {int(size):,} characters, `fast`"
        yield "One scan", text, f"p50 {taken['p50_ms']:,} ms, p99 {taken['p99_ms']:,} ms"
    yield "First scan of a process", "compiles the rules", f"{figures['first_scan_ms']:,} ms"


DETECTION = {
    "mixed": "20 detections and 5 correlations, 30 % matching, 10 % touching a window",
    "many_rules": "200 detections on one log source",
    "distinct": "distinct values, 10,000 in one group, in order",
    "shipped": "the shipped rules",
}


def detection(figures: Figures) -> Iterator[Row]:
    for name, told in DETECTION.items():
        taken = figures[name]
        rate = f"{taken['events_per_cpu_second']:,} events/s"
        yield "Detection", f"{told}; {taken['events']:,} events, one core, no storage", rate


def checks(figures: Figures) -> Iterator[Row]:
    for name, told in (("check_known", "asked before"), ("check_new", "not seen before")):
        taken = figures[name]
        blocks = f"{figures['blocks']:,} blocks in force, address {told}"
        yield "Is this address blocked?", blocks, f"p50 {taken['p50_us']} µs, p99 {taken['p99_us']} µs"


def services(figures: Figures) -> Iterator[Row]:
    idle, reaction, steady, http, sshd = (figures[part] for part in ("idle", "reaction", "steady", "http", "sshd"))
    yield "A service just started", "no events yet", f"{idle['rss_mb']:,} MB; {idle['series']:,} series"
    logins = f"tenth failed login of each of {reaction['addresses']} addresses"
    yield "From event sent to request refused", logins, spread(reaction)
    load = f"beside {steady['sent_per_second']:,} other events/s, sent whatever the answers take"
    yield "The same under load", load, spread(steady, "refused_")
    yield "From event accepted to its block told", load, spread(steady, "signal_")
    load = f"NDJSON by {http['batch']}, {http['connections']} connections"
    events = f"{http['events']:,} mixed events in {http['seconds']:.0f} s, 30 % match a rule; {load}"
    waits = f"clients were told to wait {http['waits']} times"
    yield "Events over HTTP, durable", events, f"{http['accepted_per_second']:,} events/s; {waits}"
    judged = f"{http['judged_per_second']:,} events/s; the service took {http['peak_rss_mb']} MB at most"
    yield "The same until all are judged", events, judged
    yield "One such request", f"{http['batch']} events", spread(http)
    lines = f"{sshd['lines']:,} lines, {sshd['events']:,} events; from start to end of the command"
    yield "`sentinel ingest --format sshd`", lines, f"{sshd['lines_per_second']:,} lines/s, {sshd['peak_rss_mb']} MB"
    size = sshd["store_bytes"]
    each = f"{size / 1e6:,.1f} MB, {size / sshd['events']:,.0f} bytes an event"
    yield "The store that it leaves", f"{sshd['events']:,} events, with the signals they led to", each


def spread(taken: Figures, of: str = "") -> str:
    return ", ".join(f"p{share} {taken[f'{of}p{share}_ms']:,} ms" for share in (50, 90, 99))


def logs(figures: list[Figures]) -> Iterator[Row]:
    for taken in figures:
        what = "signals" if taken["program"] == "sentinel" else "addresses"
        same = f"the same {what} in each" if taken["same"] else f"NOT THE SAME {what.upper()} IN EACH"
        paces = ", ".join(f"{int(pace):,}" for pace in taken["of_all_runs"].split())
        figure = f"{paces} lines/s, {same}; {taken['cpu_seconds']} s of CPU, {taken['peak_mb']:,} MB"
        yield f"An sshd log by `{taken['program']}`", "200,000 lines, in turns, start to end of the program", figure


def scan_requests(figures: Figures) -> Iterator[Row]:
    texts = f"prompts of 200 characters, `fast`, {figures['connections']} connections"
    rate = f"{figures['per_second']:,} requests/s"
    yield "`POST /api/v1/scan`", texts, f"{rate}, {spread(figures)}; {figures['cpu_us_per_request']} µs of CPU each"


def bad_tokens(figures: Figures) -> Iterator[Row]:
    told = f"{figures['rate']:,} a second beside {figures['good_rate']} good questions a second"
    ratios = ", ".join(str(one["ratio"]) for one in figures["pairs"])
    yield "Good questions beside bad tokens", told, f"p99 with them over p99 without: {ratios}"
    yield "One bad token", told, f"{figures['us_cpu_per_refusal']} µs of CPU"


def baselines(figures: Figures) -> Iterator[Row]:
    days = f"{figures['users']} users, {figures['days']:,} generated days, {figures['events']:,} events, no storage"
    cost = f"{figures['microseconds_a_tracked_metric']} µs of CPU"
    yield "Baselines: an event and metric it feeds", f"{days}; {figures['metrics_an_event']} metrics an event", cost
    sizes = f"median {figures['record_bytes_median']:,.0f}, at most {figures['record_bytes_most']:,.0f} bytes"
    yield "What is stored of a user", days, f"{sizes}; of the organisation {figures['organisation_bytes']:,.0f}"


def entities(figures: Figures) -> Iterator[Row]:
    log = f"{figures['users']:,} users with one event each in {figures['hours']} hours, `sentinel ingest`"
    start, *quarters = figures["rss_mb_at_start_and_quarters"]
    grown = f"{start} MB before, {', '.join(map(str, quarters))} MB after each quarter"
    yield "Many users: memory of the service", log, f"{figures['peak_rss_mb']} MB at most ({grown})"
    waits = f"an event of another sender waited {figures['longest_wait_s']} s at most"
    yield "The same: time", log, f"{figures['seconds']} s, of the service {figures['cpu_seconds']} s of CPU; {waits}"


def stores(figures: Figures) -> Iterator[Row]:
    for name, told in (("sqlite", "SQLite"), ("postgresql", "PostgreSQL on the same machine")):
        taken = figures[name]
        load = f"the load of events over HTTP, {taken['events']:,} events in turns with the other"
        rates = f"{taken['accepted_per_second']:,} accepted and {taken['judged_per_second']:,} judged a second"
        cost = f"{taken['cpu_us_per_event']} µs of the service's CPU an event"
        if taken["server_cpu_us_per_event"]:
            cost += f", {taken['server_cpu_us_per_event']} of the server's"
        yield f"The store in {told}", load, f"{rates}; {cost}; p50 {taken['p50_ms']} ms a request"


def nodes(figures: Figures) -> Iterator[Row]:
    names = {
        "embedded": "One process with SQLite",
        "one_worker": "A node beside one worker, on PostgreSQL",
        "two_workers": "A node beside two workers, on PostgreSQL",
    }
    for name, told in names.items():
        taken = figures["events"][name]
        load = f"the load of events over HTTP, {taken['events']:,} events in turns with the others"
        rates = f"{taken['accepted_per_second']:,} accepted and {taken['judged_per_second']:,} judged a second"
        parts = (
            ("front_cpu", "of the node that takes events"),
            ("workers_cpu", "of the workers"),
            ("server_cpu", "of PostgreSQL"),
        )
        costs = [f"{taken[f'{part}_us_per_event']} {who}" for part, who in parts if taken[f"{part}_us_per_event"] >= 1]
        yield told, load, f"{rates}; µs of CPU an event: {', '.join(costs)}"
    for name, told in (("pushed", "as it is"), ("pulled", "without news of changes")):
        taken = figures["blocks"][name]
        yield (
            f"Ordered on one node, refused on another, {told}",
            f"{taken['blocks']} blocks on addresses",
            spread(taken),
        )


BENCHMARKS: dict[str, Callable[[Any], Iterator[Row]]] = {
    "scan.py": scans,
    "correlate.py": detection,
    "middleware.py": checks,
    "service.py": services,
    "logs_peers.py": logs,
    "scan_service.py": scan_requests,
    "bad_tokens.py": bad_tokens,
    "baselines.py": baselines,
    "entities.py": entities,
    "stores.py": stores,
    "nodes.py": nodes,
}


def figures_of(name: str) -> Any:
    print(f"{name} ...", file=sys.stderr)
    arguments = sys.argv[1:] if name == "logs_peers.py" else []
    done = subprocess.run([sys.executable, HERE / name, *arguments, "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def machine() -> str:
    """Return CPU model, cores that this process may use, Python and kernel."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next(
        (line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine()
    )
    cores = len(os.sched_getaffinity(0))
    kernel = platform.release().partition("-")[0]
    return f"{model}, {cores} cores, Python {platform.python_version()}, {platform.system()} {kernel}"


def main() -> None:
    if shutil.which("wrk") is None:  # said now, not after minutes
        sys.exit("wrk is missing; on Debian: apt-get install wrk")
    rows = [row for name, read in BENCHMARKS.items() for row in read(figures_of(name))]
    lines = [("What", "Input", "Figure"), ("---", "---", "---"), *rows]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    print(machine(), table, sep="\n\n")
    PAGE.write_text(PREFACE.format(date=f"{datetime.now(UTC):%Y-%m-%d}", machine=machine()) + table, encoding="utf-8")
    subprocess.run([sys.executable, PAGE.parent / "tables.py"], check=True)  # other pages quote this one


if __name__ == "__main__":
    main()
