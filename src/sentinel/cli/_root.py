"""The tree of commands; each group is one file, imported only when it runs."""

from __future__ import annotations

import typer

from sentinel.cli import (
    anomalies,
    audit,
    baselines,
    blocks,
    calibrate,
    certs,
    db,
    deadletters,
    demo,
    doctor,
    engine,
    evaluate,
    evidence,
    incidents,
    ingest,
    lab,
    rules,
    scan,
    serve,
    thresholds,
    token,
    validate,
    violations,
    worker,
)
from sentinel.cli.explain import explain

__all__ = ["app"]

app = typer.Typer(
    name="sentinel",
    help="Judge texts that go into and out of language models; watch, decide on and enforce security events.",
    epilog='Try: sentinel scan "Ignore all previous instructions"',
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)
app.command()(scan.scan)
app.command()(calibrate.calibrate)
app.command("eval")(evaluate.evaluate)
app.command()(serve.serve)
app.command()(worker.worker)
app.command()(demo.demo)
app.command()(validate.validate)
app.command()(doctor.doctor)
app.command()(ingest.ingest)
app.add_typer(engine.app, name="engine")
app.add_typer(rules.app, name="rules")
app.add_typer(blocks.app, name="blocks")
app.add_typer(token.app, name="token")
app.add_typer(audit.app, name="audit")
app.add_typer(db.app, name="db")
app.add_typer(certs.app, name="certs")
app.add_typer(incidents.app, name="incidents")
app.add_typer(violations.app, name="violations")
app.add_typer(deadletters.app, name="dead-letters")
app.add_typer(anomalies.app, name="anomalies")
app.add_typer(baselines.app, name="baselines")
app.add_typer(evidence.app, name="evidence")
app.add_typer(thresholds.app, name="thresholds")
app.add_typer(lab.app, name="lab")
app.command()(incidents.feedback)
app.command()(explain)
