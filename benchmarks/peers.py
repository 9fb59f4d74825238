"""
Compare with other scanners in one run: `python benchmarks/peers.py FOLDER [--json]`.

The peers live in a virtual environment in FOLDER, made there at the first run (1.5 GB; one of them imports torch):
llm-guard with Regex, Secrets and InvisibleText, and presidio-analyzer with its pattern recognisers on a blank spaCy
pipeline. No model is downloaded. Each input is judged by each scanner in turn, so that what else the machine does hits
all alike; the figure is the median time of one text, and the ratio is to ours with all default engines.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

SEED = 7
INSTALL_SECONDS = 1200
PACKAGES = (["torch==2.13.0"], ["llm-guard==0.3.16"])
ROUNDS = {200: 60, 5_000: 20}
TRIES = 3
SENTENCES = [
    "Could you tell me how long the museum stays open on Sundays and whether children pay the full price?",
    "The invoice of last month lists the same delivery twice, so please send a corrected one to our office.",
    "Write a short welcome note for the new colleagues who start in the warehouse next week.",
    "My number is 555-123-4567 in case the courier does not find the back entrance.",
    "The build fails since yesterday with a message about a missing header file in the second stage.",
    "Summarise the minutes in five points and leave out everything about the summer party.",
]
PATTERNS = [rf"\b{word}[-_ ]?\d{{{digits},}}\b" for word in ("key", "token", "code", "card") for digits in range(3, 13)]
"""Forty, as a project that lists its own would have."""
Judge = Callable[[str], object]


def texts(size: int) -> list[str]:
    dice = random.Random(SEED)
    made: list[str] = []
    for _ in range(ROUNDS[size]):
        text = ""
        while len(text) < size:
            text += dice.choice(SENTENCES) + " "
        made.append(text[:size])
    return made


def ours() -> dict[str, Judge]:
    from sentinel import scan  # noqa: PLC0415 - not there in the peers' environment

    return {"sentinel": scan}


def peers() -> dict[str, Judge]:
    """Return the peers, inside their own environment."""
    import spacy  # noqa: PLC0415 - only there
    from llm_guard.input_scanners import InvisibleText, Regex, Secrets  # noqa: PLC0415
    from llm_guard.util import configure_logger  # noqa: PLC0415
    from presidio_analyzer import AnalyzerEngine, RecognizerRegistry  # noqa: PLC0415
    from presidio_analyzer.nlp_engine import SpacyNlpEngine  # noqa: PLC0415

    configure_logger("ERROR")  # its lines for debugging would count against it
    blank = SpacyNlpEngine(models=[{"lang_code": "en", "model_name": "blank"}])
    blank.nlp = {"en": spacy.blank("en")}
    registry = RecognizerRegistry()
    registry.load_predefined_recognizers(languages=["en"], nlp_engine=None)
    registry.remove_recognizer("SpacyRecognizer")
    analyzer = AnalyzerEngine(registry=registry, nlp_engine=blank, supported_languages=["en"])
    guards = [Regex(patterns=PATTERNS), Secrets(), InvisibleText()]
    judges: dict[str, Judge] = {f"llm-guard {type(guard).__name__}": guard.scan for guard in guards}
    judges["llm-guard, the three"] = lambda text: [guard.scan(text) for guard in guards]
    judges["presidio-analyzer"] = lambda text: analyzer.analyze(text, language="en")
    return judges


def took(judge: Judge, text: str) -> float:
    start = time.perf_counter()
    judge(text)
    return time.perf_counter() - start


def serve(prepare: Callable[[], dict[str, Judge]]) -> None:
    """Answer lines `[name, text]` with seconds; the first line written names the judges."""
    with os.fdopen(os.dup(1), "w") as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # some of them tell things on standard output
        judges = prepare()
        print(json.dumps(list(judges)), file=answers, flush=True)
        for line in sys.stdin:
            name, text = json.loads(line)
            print(min(took(judges[name], text) for _ in range(TRIES)), file=answers, flush=True)


class Process:
    """Judges in an environment of their own."""

    def __init__(self, python: Path | str, role: str) -> None:
        environment = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
        self._process = subprocess.Popen(
            [python, __file__, "--role", role],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
        )
        self.names: list[str] = json.loads(self._answer())

    def _answer(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("the peers could not be started; delete the folder to install them anew")
        return line

    def seconds(self, name: str, text: str) -> float:
        assert self._process.stdin
        self._process.stdin.write(json.dumps([name, text]) + "\n")
        self._process.stdin.flush()
        return float(self._answer())

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(30)


def installed(folder: Path) -> Path:
    """Return the Python of the peers' environment."""
    python = folder / "venv" / "bin" / "python"
    if not (folder / "venv" / "complete").exists():
        print(f"installing the peers into {folder}; this takes minutes", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
        for packages in PACKAGES:
            command = [python, "-m", "pip", "install", "--quiet", *packages]
            subprocess.run(command, check=True, timeout=INSTALL_SECONDS)
        (folder / "venv" / "complete").touch()
    return python


def measure(folder: Path) -> dict[int, dict[str, float]]:
    """Return by size and scanner the median milliseconds of one text."""
    processes = [Process(sys.executable, "ours"), Process(installed(folder), "peers")]
    figures: dict[int, dict[str, float]] = {}
    for size in ROUNDS:
        times: dict[str, list[float]] = {}
        for text in texts(size):
            for process in processes:
                for name in process.names:
                    times.setdefault(name, []).append(process.seconds(name, text))
        figures[size] = {name: round(statistics.median(taken) * 1000, 4) for name, taken in times.items()}
    for process in processes:
        process.close()
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare with other scanners in one run.")
    parser.add_argument("folder", type=Path, nargs="?", help="where the peers' environment is or will be")
    parser.add_argument("--role", choices=["ours", "peers"], help=argparse.SUPPRESS)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    if options.role:
        serve(ours if options.role == "ours" else peers)
        return
    if options.folder is None:
        parser.error("name a folder for the peers' environment")
    figures = measure(options.folder)
    if options.json:
        print(json.dumps(figures))
        return
    for size, times in figures.items():
        for name, milliseconds in times.items():
            ratio = milliseconds / times["sentinel"]
            print(f"{size:>6} characters   {name:24} {milliseconds:10.3f} ms   {ratio:8.1f} x")


if __name__ == "__main__":
    main()
