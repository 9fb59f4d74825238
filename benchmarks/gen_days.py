"""
Write realistic days with planted anomalies: `python benchmarks/gen_days.py OUT LABELS --seed 1 --days 14 --users 200`.

OUT gets events as JSON lines, in order of time; LABELS says what was planted: type, user, and from when to when. People
have roles, offices, hours, weekends, habits that drift, days off, journeys, new tools for a whole team, nights on call;
service accounts work like clocks. Row counts have heavy tails. Nothing is planted in the first seven days, nor on
whoever has been there for fewer than seven days.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

START = date(2025, 11, 3)  # a Monday
LEARNING_DAYS = 7
OFFICES = {
    # zone, country, latitude, longitude, weight
    "berlin": ("Europe/Berlin", "DE", 52.52, 13.40, 4),
    "london": ("Europe/London", "GB", 51.51, -0.13, 3),
    "new_york": ("America/New_York", "US", 40.71, -74.01, 3),
    "bangalore": ("Asia/Kolkata", "IN", 12.97, 77.59, 2),
    "sao_paulo": ("America/Sao_Paulo", "BR", -23.55, -46.63, 1),
}
FAR = {"KP": (39.03, 125.75), "IR": (35.69, 51.39), "VN": (21.03, 105.85), "NG": (6.52, 3.38), "NZ": (-36.85, 174.76)}
JOURNEYS = {"FR": (48.86, 2.35), "NL": (52.37, 4.90), "IT": (41.90, 12.50), "CA": (43.65, -79.38), "SG": (1.35, 103.82)}
AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/{v}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/{v}.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 Version/{v}.1 Safari/605.1.15",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:{v}.0) Gecko/20100101 Firefox/{v}.0",
)
ODD_AGENTS = ("python-requests/2.31.0", "curl/8.5.0", "sqlcl/23.3", "Go-http-client/1.1", "Wget/1.21")
ROLES = {
    # share of people, accesses a day, rows (median, sigma), tools a day, tables, tools
    "support": (
        0.3,
        30,
        (3, 0.8),
        12,
        ["tickets", "customers", "orders", "refunds", "notes"],
        ["search", "mail", "crm"],
    ),
    "sales": (0.2, 18, (10, 1.0), 8, ["leads", "customers", "offers", "orders"], ["crm", "mail", "calendar"]),
    "analyst": (0.15, 14, (60, 1.2), 6, ["orders", "events", "sessions", "revenue"], ["sql", "notebook", "chart"]),
    "engineer": (0.2, 10, (5, 1.1), 20, ["jobs", "flags", "metrics"], ["shell", "git", "search", "deploy"]),
    "finance": (0.1, 16, (25, 0.9), 5, ["invoices", "payments", "ledger"], ["sheet", "mail", "report"]),
    "manager": (0.05, 8, (8, 1.0), 4, ["reports", "staff"], ["mail", "calendar", "report"]),
}
SENSITIVE = {"customers", "payments", "staff", "salaries", "secrets", "health_records"}
KINDS = (
    "volumetric", "off_hours", "new_country", "new_agent", "new_tool", "new_table", "travel", "session_hijack",
    "slow_escalation", "performance", "automated", "insider",
)  # fmt: skip
Json = dict[str, Any]


@dataclass
class Person:
    """Somebody with habits."""

    name: str
    role: str
    office: str
    zone: ZoneInfo
    starts: float
    hours: float
    busy: float
    rows: float
    weekend: float
    agents: list[str]
    networks: list[str]
    tables: list[str]
    tools: list[str]
    drift: float
    regularity: float
    joined: int = 0
    country: str = ""
    place: tuple[float, float] = (0.0, 0.0)
    off: set[int] = field(default_factory=set)
    journey: dict[int, str] = field(default_factory=dict)
    on_call: set[int] = field(default_factory=set)
    extra_tools: dict[str, int] = field(default_factory=dict)
    phone: bool = False


class Days:
    """Everything that happens, and what was planted."""

    def __init__(self, seed: int, days: int, users: int, planted: int) -> None:
        self.random = random.Random(seed)
        self.days = days
        self.events: list[Json] = []
        self.labels: list[Json] = []
        self.serial = 0
        self.people = [self.person(n) for n in range(users - max(2, users // 40))]
        self.machines = max(2, users // 40)
        self.roll_out()
        self.victims = self.draw(planted)
        for day in range(days):
            for person in self.people:
                self.day_of(person, day)
            for number in range(self.machines):
                self.machine(number, day)
        self.labels.sort(key=lambda label: label["start"])
        self.events.sort(key=lambda event: (event["timestamp"], event["event_id"]))

    # --- who there is

    def person(self, number: int) -> Person:
        r = self.random
        role = r.choices(list(ROLES), [share for share, *_ in ROLES.values()])[0]
        office = r.choices(list(OFFICES), [o[4] for o in OFFICES.values()])[0]
        zone, country, lat, lon, _ = OFFICES[office]
        _, _, (median, _), _, tables, tools = ROLES[role]
        version = r.choice((126, 127))
        person = Person(
            name=f"{r.choice('abcdefghjklmnprstvwz')}{r.choice(('ann', 'ben', 'cleo', 'dara', 'finn'))}.{number:03}",
            role=role,
            office=office,
            zone=ZoneInfo(zone),
            starts=r.gauss(9.0, 0.9),
            hours=r.gauss(8.2, 0.7),
            busy=r.lognormvariate(0, 0.4),
            rows=median * r.lognormvariate(0, 0.6),
            weekend=r.choice((0.02, 0.02, 0.05, 0.3)),
            agents=[r.choice(AGENTS).format(v=version)],
            networks=[f"10.{number // 200}.{number % 200}", f"198.51.{number % 250}"],
            tables=r.sample(tables, k=min(len(tables), r.randint(2, 5))),
            tools=r.sample(tools, k=min(len(tools), r.randint(2, 4))),
            drift=r.gauss(0, 0.015),
            regularity=r.uniform(0.85, 1.0),
            country=country,
            place=(lat + r.gauss(0, 0.05), lon + r.gauss(0, 0.05)),
            phone=r.random() < 0.3,
        )
        if r.random() < 0.06:
            person.joined = r.randint(3, self.days - 1)
        person.off = {d for d in range(self.days) if r.random() < 0.03}
        if r.random() < 0.05:
            first = r.randrange(self.days)
            person.off |= set(range(first, first + r.randint(2, 5)))
        if r.random() < 0.06:
            first, where = r.randrange(1, self.days), r.choice(list(JOURNEYS))
            person.journey = dict.fromkeys(range(first, first + r.randint(2, 4)), where)
        if role == "engineer":
            week = r.randrange(4)
            person.on_call = {d for d in range(self.days) if (d // 7) % 4 == week}
        return person

    def roll_out(self) -> None:
        """A new tool for a team, a new table for another, and a public holiday in one office."""
        r = self.random
        for role in r.sample(list(ROLES), k=2):
            day = r.randrange(LEARNING_DAYS, self.days)
            for person in self.people:
                if person.role == role and r.random() < 0.9:
                    person.extra_tools[f"assistant_{role}"] = day
        office, day = r.choice(list(OFFICES)), r.randrange(self.days)
        for person in self.people:
            if person.office == office:
                person.off.add(day)

    def draw(self, planted: int) -> dict[tuple[str, int], tuple[str, int]]:
        """By person and day what goes wrong then, and where in a longer story it is."""
        r, chosen, busy = self.random, {}, set()
        able = [p for p in self.people if p.joined == 0]
        for number in range(planted):
            kind = KINDS[number % len(KINDS)]
            length = 5 if kind == "slow_escalation" else 1
            for _ in range(500):
                person = r.choice(able)
                day = r.randrange(LEARNING_DAYS, self.days - length + 1)
                workdays = [d for d in range(day, self.days) if self.works(person, d)][:length]
                if person.name not in busy and len(workdays) == length and self.settled(person, workdays[0]):
                    busy.add(person.name)
                    person.regularity = 1.0  # who is absent too often is still being learnt
                    for step, each in enumerate(workdays):
                        chosen[person.name, each] = (kind, step)
                    break
        return chosen

    def settled(self, person: Person, day: int) -> bool:
        return sum(self.works(person, d) for d in range(day)) >= 5

    def works(self, person: Person, day: int) -> bool:
        weekend = (START + timedelta(days=day)).weekday() >= 5
        return day >= person.joined and day not in person.off and not weekend

    # --- what a day holds

    def day_of(self, person: Person, day: int) -> None:
        r = self.random
        weekend = (START + timedelta(days=day)).weekday() >= 5
        if day < person.joined or day in person.off:
            return
        works = r.random() < person.weekend if weekend else r.random() < person.regularity
        kind, step = self.victims.get((person.name, day), ("", 0))
        if kind or works:
            self.work(person, day, hours=person.hours * (0.4 if weekend else 1.0), calm=kind)
        if day in person.on_call and r.random() < 0.25:
            self.session(person, self.at(person, day, r.uniform(21, 28)), r.randint(4, 15), tools=0.6)
        if kind:
            getattr(self, f"plant_{kind}")(person, day, step)

    def work(self, person: Person, day: int, hours: float, calm: str) -> None:
        r = self.random
        _, accesses, _, tools, _, _ = ROLES[person.role]
        size = person.busy * math.exp(person.drift * day) * r.lognormvariate(0, 0.25)
        if r.random() < 0.03 and not calm:
            size *= r.uniform(1.5, 2.5)  # the end of a quarter
        total = max(3, round((accesses + tools) * size * hours / 8))
        sessions = r.choice((1, 1, 2, 2, 3))
        start = person.starts + r.gauss(0, 0.4)
        for n in range(sessions):
            at = self.at(person, day, start + n * hours / sessions)
            self.session(person, at, total // sessions, tools=tools / (accesses + tools), length=hours / sessions)

    def at(self, person: Person, day: int, hour: float) -> datetime:
        midnight = datetime.combine(START + timedelta(days=day), datetime.min.time(), person.zone)
        return (midnight + timedelta(hours=hour)).astimezone(UTC)

    def session(
        self,
        person: Person,
        at: datetime,
        count: int,
        *,
        tools: float = 0.3,
        length: float = 2.0,
        rows: float = 1.0,
        **over: Any,
    ) -> str:
        """Log in and do things for some hours; returns the session."""
        r, day = self.random, (at.astimezone(person.zone).date() - START).days
        session = over.pop("session_id", None) or f"s{r.getrandbits(48):012x}"
        phone = person.phone and r.random() < 0.15
        same = {"session_id": session, "user_agent": self.agent(person, day), **self.where(person, day, phone)} | over
        if r.random() < 0.08:
            for n in range(r.choice((1, 1, 1, 2, 3))):
                failed = {"success": False, "failure_reason": "bad_password", "method": "password"}
                self.put(person, at - timedelta(seconds=5 + 9 * n), "authentication", failed, same)
        self.put(person, at, "authentication", {"success": True, "method": "password", "user_type": "regular"}, same)
        gap = length * 3600 / max(count, 1)
        for _ in range(count):
            at += timedelta(seconds=r.expovariate(1) * gap)
            if r.random() < tools:
                self.use(person, at, self.tool(person, day), same)
            else:
                self.read(person, at, r.choice(person.tables), same, rows=rows)
            if r.random() < 0.05:
                granted = r.random() > 0.04
                details = {"resource": r.choice(person.tables), "action": "update", "granted": granted}
                self.put(person, at + timedelta(seconds=1), "authorization", details, same)
        return session

    def tool(self, person: Person, day: int) -> str:
        fresh = [tool for tool, since in person.extra_tools.items() if day >= since]
        if fresh and self.random.random() < 0.4:
            return self.random.choice(fresh)
        if self.random.random() < 0.003:
            return self.random.choice(ROLES[person.role][5])  # a colleague's
        return self.random.choice(person.tools)

    def agent(self, person: Person, day: int) -> str:
        agent = person.agents[0]
        if day >= 6 and hash_of(person.name) % 3 != 0:  # browsers update themselves
            agent = agent.replace("126", "128").replace("127", "128")
        return agent

    def where(self, person: Person, day: int, phone: bool) -> Json:
        r = self.random
        country, (lat, lon), network = person.country, person.place, r.choices(person.networks, (8, 2))[0]
        if abroad := person.journey.get(day):
            country, (lat, lon), network = abroad, JOURNEYS[abroad], f"203.0.{hash_of(person.name) % 200}"
        if phone:
            network = f"100.64.{r.randrange(256)}"
        place = {"country": country, "lat": round(lat + r.gauss(0, 0.02), 3), "lon": round(lon + r.gauss(0, 0.02), 3)}
        return {"ip_address": f"{network}.{r.randrange(1, 250)}", "geo": place}

    # --- events

    def use(self, person: Person, at: datetime, tool: str, same: Json) -> None:
        details = {"tool_name": tool, "success": self.random.random() > 0.02, "security_level": "low"}
        self.put(person, at, "tool_execution", details, same)

    def read(
        self, person: Person, at: datetime, table: str, same: Json, *, rows: float = 1.0, slow: float = 1.0
    ) -> None:
        r = self.random
        sigma = ROLES[person.role][2][1]
        if r.random() < 0.002:
            table = r.choice(ROLES[person.role][4])
        details = {
            "table_name": table,
            "access_type": r.choices(("select", "update", "insert"), (8, 1, 1))[0],
            "row_count": min(2500, 1 + int(person.rows * rows * r.lognormvariate(0, sigma))),
            "sensitive": table in SENSITIVE,
            "response_time_ms": round(25 * slow * r.lognormvariate(0, 0.5), 1),
        }
        self.put(person, at, "data_access", details, same)
        if details["access_type"] != "select":
            entry = {"operation": "update", "table_name": table}
            self.put(person, at + timedelta(milliseconds=5), "audit_log", entry, same)

    def put(self, person: Person | None, at: datetime, kind: str, details: Json, same: Json) -> None:
        self.serial += 1
        event: Json = {
            "event_id": f"d{self.serial:08}",
            "event_type": kind,
            "severity": "low",
            "timestamp": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "service_name": "crm" if person and person.role in {"support", "sales"} else "backoffice",
            **{key: value for key, value in same.items() if key != "geo"},
            "details": {**details, **({"geo": same["geo"]} if "geo" in same else {})},
        }
        if person:
            event["user_id"] = person.name
            event["details"] |= {"role": person.role, "tz": person.zone.key}
        self.events.append(event)

    def machine(self, number: int, day: int) -> None:
        """A service account: every quarter of an hour by day, and a batch at night."""
        r, name = self.random, f"svc-batch-{number}"
        person = Person(
            name, "service", "berlin", ZoneInfo("UTC"), 0, 24, 1, 300, 1, ["batch/1.0"], [f"10.9.{number}"],
            ["orders", "events"], ["export"], 0, 1, country="DE", place=(52.5, 13.4),
        )  # fmt: skip
        same = {"session_id": f"svc{number}-{day}", "user_agent": "batch/1.0", "ip_address": f"10.9.{number}.5"}
        for quarter in range(96):
            at = self.at(person, day, quarter / 4)
            self.put(person, at, "authentication", {"success": True, "method": "mtls", "user_type": "service"}, same)
            rows = int(1500 * r.lognormvariate(0, 0.3)) if 4 <= quarter < 8 else int(40 * r.lognormvariate(0, 0.5))
            details = {"table_name": "orders", "access_type": "select", "row_count": rows, "sensitive": False}
            self.put(person, at + timedelta(seconds=2), "data_access", details, same)

    # --- what goes wrong

    def label(self, kind: str, person: Person, start: datetime, end: datetime, **more: Any) -> None:
        told = {"start": start.isoformat().replace("+00:00", "Z"), "end": end.isoformat().replace("+00:00", "Z")}
        self.labels.append({"type": kind, "user": person.name, **told, **more})

    def same(self, person: Person, day: int, **over: Any) -> Json:
        session = {"session_id": f"s{self.random.getrandbits(48):012x}", "user_agent": self.agent(person, day)}
        return session | self.where(person, day, phone=False) | over

    def hour(self, person: Person) -> float:
        return person.starts + self.random.uniform(0.5, max(1.0, person.hours - 2))

    def plant_volumetric(self, person: Person, day: int, _: int) -> None:
        r, at = self.random, self.at(person, day, self.hour(person))
        usual = ROLES[person.role][1] * person.busy * person.rows
        total, parts, same = min(9500, usual * r.uniform(5, 12)), r.randint(8, 25), self.same(person, day)
        end = at
        for _n in range(parts):
            end += timedelta(seconds=r.expovariate(1 / 60))
            details = {
                "table_name": r.choice(person.tables),
                "access_type": "select",
                "row_count": max(1, round(total / parts * r.lognormvariate(0, 0.3))),
                "sensitive": False,
                "response_time_ms": round(60 * r.lognormvariate(0, 0.5), 1),
            }
            self.put(person, end, "data_access", details, same)
        self.label("volumetric", person, at, end)

    def plant_off_hours(self, person: Person, day: int, _: int) -> None:
        at = self.at(person, day, (person.starts + self.random.uniform(15.5, 19.5)) % 24)
        self.session(person, at, self.random.randint(6, 25), length=0.9)
        self.label("off_hours", person, at, at + timedelta(hours=1.5))

    def plant_new_country(self, person: Person, day: int, _: int) -> None:
        country = self.random.choice(list(FAR))
        lat, lon = FAR[country]
        at = self.at(person, day, person.starts - self.random.uniform(9, 11) % 24)
        address = f"192.0.2.{self.random.randrange(1, 250)}"
        geo = {"country": country, "lat": lat, "lon": lon}
        self.session(person, at, self.random.randint(3, 10), length=0.5, ip_address=address, geo=geo)
        self.label("new_country", person, at, at + timedelta(hours=1))

    def plant_new_agent(self, person: Person, day: int, _: int) -> None:
        at = self.at(person, day, self.hour(person))
        self.session(person, at, self.random.randint(5, 20), length=0.7, user_agent=self.random.choice(ODD_AGENTS))
        self.label("new_agent", person, at, at + timedelta(hours=1))

    def plant_new_tool(self, person: Person, day: int, _: int) -> None:
        at, same = self.at(person, day, self.hour(person)), self.same(person, day)
        tool = self.random.choice(("admin_console", "key_export", "impersonate", "db_dump", "policy_edit"))
        for n in range(self.random.randint(1, 6)):
            self.use(person, at + timedelta(seconds=40 * n), tool, same)
        self.label("new_tool", person, at, at + timedelta(minutes=10))

    def plant_new_table(self, person: Person, day: int, _: int) -> None:
        at, same = self.at(person, day, self.hour(person)), self.same(person, day)
        table = self.random.choice(("salaries", "secrets", "health_records", "audit_archive", "api_keys"))
        for n in range(self.random.randint(1, 6)):
            self.read(person, at + timedelta(seconds=50 * n), table, same)
        self.label("new_table", person, at, at + timedelta(minutes=10))

    def plant_travel(self, person: Person, day: int, _: int) -> None:
        at = self.at(person, day, self.hour(person))
        far = [o for o in OFFICES.values() if o[1] != person.country and abs(o[3] - person.place[1]) > 40]
        _, country, lat, lon, _ = self.random.choice(far)
        self.session(person, at, 3, length=0.1)
        later = at + timedelta(minutes=self.random.uniform(20, 60))
        geo = {"country": country, "lat": lat, "lon": lon}
        self.session(person, later, 5, length=0.2, ip_address=f"192.0.2.{self.random.randrange(1, 250)}", geo=geo)
        self.label("travel", person, at, later + timedelta(minutes=15))

    def plant_session_hijack(self, person: Person, day: int, _: int) -> None:
        at = self.at(person, day, self.hour(person))
        session = self.session(person, at, 10, length=0.6)
        stolen = at + timedelta(minutes=self.random.uniform(8, 30))
        same = {
            "session_id": session,
            "user_agent": self.random.choice([a for a in AGENTS if a[13:20] != person.agents[0][13:20]]).format(v=127),
            "ip_address": f"192.0.2.{self.random.randrange(1, 250)}",
        }
        for n in range(self.random.randint(4, 10)):
            self.read(person, stolen + timedelta(seconds=25 * n), self.random.choice(person.tables), same)
        self.label("session_hijack", person, stolen, stolen + timedelta(minutes=10))

    def plant_slow_escalation(self, person: Person, day: int, step: int) -> None:
        """Each day a little more: refused rights and rows."""
        r, same = self.random, self.same(person, day)
        at = self.at(person, day, self.hour(person))
        for n in range(1 + step):
            details = {"resource": r.choice(("admin", "roles", "keys")), "action": "read", "granted": False}
            self.put(person, at + timedelta(minutes=41 * n), "authorization", details, same)
        for n in range(3 + 3 * step):
            self.read(person, at + timedelta(minutes=7 * n), r.choice(person.tables), same, rows=1.5 + step)
        start = at if step == 0 else None
        if start:
            self.label("slow_escalation", person, at, at + timedelta(days=8))

    def plant_performance(self, person: Person, day: int, _: int) -> None:
        at, same = self.at(person, day, self.hour(person)), self.same(person, day)
        for n in range(self.random.randint(12, 25)):
            table = self.random.choice(person.tables)
            self.read(person, at + timedelta(seconds=70 * n), table, same, slow=self.random.uniform(15, 40))
        self.label("performance", person, at, at + timedelta(minutes=30))

    def plant_automated(self, person: Person, day: int, _: int) -> None:
        r, at, same = self.random, self.at(person, day, self.hour(person)), self.same(person, day)
        every, count = r.choice((5, 8, 10, 15, 20)), r.randint(60, 150)
        for n in range(count):
            jitter = r.uniform(-0.03, 0.03) * every
            self.read(person, at + timedelta(seconds=every * n + jitter), r.choice(person.tables), same, rows=0.3)
        self.label("automated", person, at, at + timedelta(seconds=every * count))

    def plant_insider(self, person: Person, day: int, _: int) -> None:
        """Nothing of it is much: late, a few times the rows, a colleague's table and tool, two refusals."""
        r = self.random
        at = self.at(person, day, person.starts + person.hours + r.uniform(2.5, 4))
        same = self.same(person, day)
        others = [role for role in ROLES if role != person.role]
        table, tool = r.choice(ROLES[r.choice(others)][4]), r.choice(ROLES[r.choice(others)][5])
        for n in range(r.randint(8, 14)):
            self.read(person, at + timedelta(minutes=3 * n), r.choice([*person.tables, table]), same, rows=3)
        for n in range(2):
            details = {"resource": table, "action": "export", "granted": False}
            self.put(person, at + timedelta(minutes=9 * n), "authorization", details, same)
        self.use(person, at + timedelta(minutes=20), tool, same)
        self.label("insider", person, at, at + timedelta(hours=1))


def hash_of(name: str) -> int:
    return sum(ord(letter) * (n + 1) for n, letter in enumerate(name))


def generate(seed: int, days: int = 14, users: int = 200, planted: int = 40) -> tuple[list[Json], Json]:
    """Return the events, in order of time, and the labels."""
    made = Days(seed, days, users, planted)
    benign = {person.name for person in made.people} | {f"svc-batch-{n}" for n in range(made.machines)}
    return made.events, {"seed": seed, "days": days, "users": sorted(benign), "anomalies": made.labels}


def lines(events: list[Json]) -> Iterator[str]:
    """Return one line for each event."""
    return (json.dumps(event, separators=(",", ":")) + "\n" for event in events)


def main(write: Callable[[str], Any] = print) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("labels", type=Path)
    for name, value in (("seed", 1), ("days", 14), ("users", 200), ("planted", 40)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    events, labels = generate(asked.seed, asked.days, asked.users, asked.planted)
    with asked.out.open("w", encoding="utf-8") as file:
        file.writelines(lines(events))
    asked.labels.write_text(json.dumps(labels, indent=1), encoding="utf-8")
    write(f"{len(events):,} events, {len(labels['anomalies'])} planted")


if __name__ == "__main__":
    main()
