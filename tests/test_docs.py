"""The documents say what the code does: tables come from it, and what is printed as a command is run."""

from __future__ import annotations

import contextlib
import os
import re
import runpy
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from tests.support.postgres import Postgres
from tests.support.redis import RedisServer

from sentinel.settings import load_settings

REPOSITORY = Path(__file__).parents[1]
DOCS = REPOSITORY / "docs"
TABLES = runpy.run_path(str(DOCS / "reference" / "tables.py"))
PAGES = sorted([*REPOSITORY.glob("*.md"), *DOCS.rglob("*.md"), *(REPOSITORY / "src").rglob("*.md")])
RUN = [
    REPOSITORY / "README.md",
    DOCS / "tutorial" / "first-block.md",
    DOCS / "tutorial" / "labs.md",
    DOCS / "how-to" / "run-the-service.md",
    DOCS / "how-to" / "use-tls.md",
    DOCS / "how-to" / "deploy.md",
    DOCS / "how-to" / "rotate-tokens.md",
    DOCS / "how-to" / "troubleshoot.md",
    DOCS / "how-to" / "decide-what-is-done.md",
    DOCS / "how-to" / "enforce-elsewhere.md",
    DOCS / "how-to" / "receive-alerts.md",
    DOCS / "how-to" / "work-on-an-incident.md",
    DOCS / "how-to" / "wake-people.md",
    DOCS / "how-to" / "watch-with-prometheus.md",
    DOCS / "how-to" / "notice-the-unusual.md",
    DOCS / "how-to" / "back-up-and-restore.md",
]
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_SERVERS = ("make run", "uvicorn ", "sentinel serve --port 8080", "sentinel worker")


def names(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(REPOSITORY)) for path in paths]


# --- what the reference says


@pytest.mark.parametrize("page", TABLES["pages"](), ids=lambda page: page.name)
def test_the_reference_says_what_the_code_says(page: Path) -> None:
    """Every command, option, setting, route, problem code, metric and shipped rule is there, and nothing else."""
    text = page.read_text()
    assert text == TABLES["rendered"](text), "run `python docs/reference/tables.py` and look at what changed"


@pytest.mark.parametrize("page", ["settings.md", "api.md"])
def test_nothing_in_the_reference_waits_for_its_explanation(page: str) -> None:
    """A new setting or route gets a row by itself, but the words must come from somebody who knows."""
    assert [line for line in (DOCS / "reference" / page).read_text().splitlines() if "|  |" in line] == []


def test_every_problem_code_in_the_code_is_documented() -> None:
    """Whoever meets a code in an answer finds it, the middleware's codes included."""
    source = "".join(path.read_text() for path in (REPOSITORY / "src").rglob("*.py"))
    documented = (DOCS / "reference" / "api.md").read_text()
    assert {code for code in re.findall(r"SNTL-\d{4}", source) if code not in documented} == set()


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    """Files that are linked exist, and so do the headings."""
    for link in _LINK.findall(page.read_text()):
        if re.match(r"https?:|mailto:", link):
            continue
        place, _, heading = link.partition("#")
        target = (page.parent / place).resolve() if place else page
        assert target.exists(), link
        assert not heading or heading in slugs(target), link


def test_tests_that_are_named_exist() -> None:
    """A page that says which test watches what is worth nothing once the test is gone."""
    named = re.findall(r"`(tests/[\w/]+\.py)(?:::(\w+))?`", (DOCS / "reference" / "lessons.md").read_text())
    assert len(named) > 50
    for path, name in named:
        assert not name or f"def {name}(" in (REPOSITORY / path).read_text(), (path, name)
        assert (REPOSITORY / path).is_file(), path


def slugs(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_changelog_has_room_for_the_next_release() -> None:
    """Users look under Unreleased for what they get from a checkout."""
    assert "\n## [Unreleased]\n" in (REPOSITORY / "CHANGELOG.md").read_text()


# --- what is printed is run


class Snippet(NamedTuple):
    """A block of a page, and what the page says it prints (None: nothing said); `*` there stands for anything."""

    language: str
    text: str
    output: str | None


def snippets(page: Path) -> list[Snippet]:
    blocks = _FENCE.findall(page.read_text())
    following = [*blocks[1:], ("", "")]
    return [
        Snippet(language, text, after if kind == "text" else None)
        for (language, text), (kind, after) in zip(blocks, following, strict=True)
        if language in {"sh", "python"}
    ]


def free_ports() -> Iterator[int]:
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    for listener in listeners:
        yield listener.getsockname()[1]
        listener.close()


def script(blocks: list[Snippet], ports: dict[str, int]) -> str:
    """Return one script of all blocks; before each it prints a line by which its output is found."""
    lines = [
        "set -euo pipefail",
        f"make() {{ exec sentinel serve --port {ports['8000']} --data-dir data; }}",
        "asked() { curl -s -o /dev/null $1 || curl -sk -o /dev/null https:${1#http:}; }",
        "answers() { for _ in $(seq 900); do asked $1 && return; sleep 0.1; done; return 1; }",
    ]
    for number, block in enumerate(blocks):
        lines.append(f"printf '\\n@{number}@\\n'")
        text = re.sub(r"\b(8000|8080)\b", lambda found: str(ports[found[1]]), block.text.strip())
        if block.language == "python":
            lines.append(f"python - <<'END'\n{text}\nEND")
        elif any(word in block.text for word in _SERVERS):
            port = ports["8000" if text.startswith("make") else "8080"]
            lines.append(f"{text} > server{number}.log 2>&1 &\nanswers http://127.0.0.1:{port}/")
        else:
            lines.append(text)
    return "\n".join(lines)


def run(text: str, folder: Path, settings: dict[str, str]) -> str:
    """Return what a script prints, with these settings in the environment; whatever it started ends with it."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").write_text(f"PATH={shlex.quote(str(Path(sys.executable).parent))}:$PATH\n")
    for name in (
        "examples",
        "config",
        "scripts",
        "Dockerfile",
        "docker-compose.yml",
        "docker-compose-mtls.yml",
        "docker-compose-nodes.yml",
    ):
        (folder / name).symlink_to(REPOSITORY / name)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SENTINEL_")}
    environment |= {
        "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
        "SENTINEL_URL": re.search(r"--port (\d+)", text).expand(r"http://127.0.0.1:\1"),  # type: ignore[union-attr]
        "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1",
        **settings,
    }
    with (
        (folder / "stderr").open("wb") as errors,
        subprocess.Popen(
            ["bash"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        ) as process,
    ):
        try:
            output, _ = process.communicate(text.encode(), timeout=300)
        finally:
            with contextlib.suppress(ProcessLookupError):  # nothing that it started is left
                os.killpg(process.pid, signal.SIGTERM)
    told = output.decode() + (folder / "stderr").read_text()
    assert process.returncode == 0, told
    return output.decode()


@pytest.mark.parametrize("page", RUN, ids=names(RUN))
def test_the_snippets_do_what_the_page_says(page: Path, tmp_path: Path) -> None:
    """Somebody who copies the commands one after the other sees what is printed below them."""
    follow(page, tmp_path, {})


def test_the_page_about_postgresql_does_what_it_says(tmp_path: Path, postgres: Postgres) -> None:
    """The same with a database of one's own, as the page says it is made."""
    page = DOCS / "how-to" / "use-postgresql.md"
    [creation] = re.findall(r"```sql\n(.*?)```", page.read_text(), re.DOTALL)
    for statement in re.sub(r"^\\.*\n", "", creation, flags=re.MULTILINE).split(";")[:-1]:
        postgres.sql(statement, "postgres")
    postgres.sql("ALTER ROLE sentinel PASSWORD 'secret word'", "postgres")
    url = f"postgresql://sentinel:secret%20word@127.0.0.1:{postgres.port}/sentinel"
    follow(page, tmp_path, {"SENTINEL_DATABASE_URL": url})


def test_the_page_about_several_nodes_does_what_it_says(tmp_path: Path, postgres: Postgres) -> None:
    """Two nodes are started, and what one is told the other one knows."""
    follow(DOCS / "how-to" / "run-several-nodes.md", tmp_path, {"SENTINEL_DATABASE_URL": postgres.database()})


def test_the_page_about_redis_does_what_it_says(tmp_path: Path) -> None:
    """A Redis of one's own gets the keys that the page names."""
    (tmp_path / "redis").mkdir()
    (tmp_path / "page").mkdir()
    with RedisServer(tmp_path / "redis") as server:
        follow(DOCS / "how-to" / "keep-keys-in-redis.md", tmp_path / "page", {"SENTINEL_REDIS_URL": server.url})


def follow(page: Path, tmp_path: Path, settings: dict[str, str]) -> None:
    blocks = snippets(page)
    output = run(script(blocks, dict(zip(("8000", "8080"), free_ports(), strict=True))), tmp_path, settings)
    parts = re.split(r"^@\d+@\n", output, flags=re.MULTILINE)[1:]
    assert len(parts) == len(blocks)
    for block, printed in zip(blocks, parts, strict=True):
        if block.output is not None:
            wanted = re.escape(block.output.strip()).replace(r"\*", ".*")
            assert re.fullmatch(wanted, printed.strip(), re.DOTALL), f"{block.text}\nprinted\n{printed}"


def test_nginx_takes_the_configuration_shown(tmp_path: Path) -> None:
    """The lines to copy into a server are accepted by the real program, those that let everybody in included."""
    page = (DOCS / "how-to" / "enforce-elsewhere.md").read_text()
    asking, opening, opened = re.findall(r"```nginx\n(.*?)```", page, re.DOTALL)
    temporary = "client_body_temp_path b; proxy_temp_path p; fastcgi_temp_path f; uwsgi_temp_path u; scgi_temp_path s;"
    port, _ = free_ports()
    server = f"listen 127.0.0.1:{port}; {asking.replace('internal;', f'internal; {opening}')} {opened}"
    (tmp_path / "nginx.conf").write_text(
        f"pid nginx.pid; events {{}} http {{ access_log off; {temporary} server {{ {server} }} }}"
    )
    program = shutil.which("nginx") or "/usr/sbin/nginx"
    command = [program, "-t", "-e", "stderr", "-p", tmp_path, "-c", tmp_path / "nginx.conf"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_middleware_can_be_put_around_an_application_as_shown() -> None:
    """The lines to copy into an application are accepted by the framework."""
    for block in snippets(DOCS / "how-to" / "protect-an-asgi-app.md"):
        namespace: dict[str, Any] = {}
        exec(block.text, namespace)
        namespace["app"].build_middleware_stack()


def test_the_settings_file_shown_is_read(tmp_path: Path) -> None:
    """The TOML example has no setting that does not exist, and no value that can't be read."""
    example = re.search(r"```toml\n(.*?)```", (DOCS / "how-to" / "run-the-service.md").read_text(), re.DOTALL)
    assert example
    (tmp_path / "sentinel.toml").write_text(example[1])
    settings = load_settings({}, {"SENTINEL_CONFIG": str(tmp_path / "sentinel.toml")})
    assert settings.port == 8000
    assert settings.allow_list == ("192.0.2.0/24",)
