"""The verb `eval`: run a suite on a version, take promptfoo's result, show a report. Knows documents and text.

A suite is read here, where its files are; the server asks and judges. Exit 0: the gate was passed, 3: it was not, 1: it
could not be evaluated (a suite that cannot be read, a route that nobody can guess and a server that is away included).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from gateway.cli.client import Client
from gateway.cli.figures import share
from gateway.cli.options import LINK, OPTIONAL_REASON, show, speaks_to_server
from gateway.cli.problem import FAILED, REFUSED, CommandError, failed

# Cases that a person is told of; the report has all.
TOLD_CASES = 20
# Characters of a reason.
TOLD_CHARACTERS = 300

SUITE = click.option(
    "--suite",
    type=click.Path(path_type=Path),
    metavar="F",
    help="Suite in promptfoo's format; the flag's own where you do not say.",
)
MIN_PASS_RATE = click.option(
    "--min-pass-rate", type=click.FloatRange(0, 1), metavar="R", help="Least share of runs that pass (0.95)."
)
MIN_SCORE = click.option("--min-score", type=click.FloatRange(0, 1), metavar="S", help="Least mean score.")
JUNIT = click.option(
    "--junit", type=click.Path(path_type=Path), metavar="FILE", help="Write JUnit XML there."
)
OUTPUT = click.option(
    "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the whole report there, as JSON."
)


@click.group
def evals() -> None:
    """Ask a version a suite of cases, through the gateway itself, and judge its answers."""


@evals.command
@click.argument("flag")
@click.argument("variant")
@SUITE
@click.option("--route", metavar="R", help="The route that is asked, where several use the flag.")
@click.option("--repeat", type=click.IntRange(1, 100), metavar="N", help="How often each case is asked.")
@click.option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    metavar="N",
    help="Cases at once.",
)
@MIN_PASS_RATE
@MIN_SCORE
@click.option("--judge", metavar="ROUTE", help="The route that judges (llm-rubric, factuality, …).")
@click.option("--embedding", metavar="UPSTREAM/MODEL", help="Who compares meanings (similar).")
@JUNIT
@OUTPUT
@OPTIONAL_REASON
@LINK
@speaks_to_server
def run(
    client: Client,
    as_json: bool,
    suite: Path | None,
    embedding: str | None,
    junit: Path | None,
    output: Path | None,
    **wanted: Any,  # the options that the server takes as they are
) -> int:
    """Ask VARIANT of FLAG a suite, and judge the answers.

    The result is written on its card. Exit 0: passed, 3: not passed, 1: could not be evaluated.
    """
    body = {**wanted, "embedding": _embedding(embedding), **_suite(suite)}
    with _never_refused():
        done = _followed(client, body)
        return _finished(client, done, (junit, output), as_json=as_json)


@evals.command
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--flag", required=True, metavar="F", help="The flag whose version is asked.")
@click.option(
    "--variant", required=True, metavar="V", help="The version; promptfoo gets it as POINTSMAN_PIN."
)
@click.option("--route", default="", metavar="R", help="promptfoo gets it as POINTSMAN_ROUTE.")
@click.option("--key", envvar="POINTSMAN_KEY", metavar="K", help="An app's key, where the gateway wants one.")
@click.option("--npx", is_flag=True, help="Let npx fetch promptfoo where it is not installed.")
@MIN_PASS_RATE
@MIN_SCORE
@JUNIT
@OUTPUT
@OPTIONAL_REASON
@LINK
@speaks_to_server
def promptfoo(
    client: Client, *, as_json: bool, junit: Path | None, output: Path | None, **wanted: Any
) -> int:
    """Run an installed promptfoo, and take its result.

    The result is written on the version's card. Exit codes as of `run`. In CONFIG the provider hands the version on, by
    config.headers: {x-pointsman-pin: "{{env.POINTSMAN_PIN}}"}.
    """
    with _never_refused():
        report = _by_promptfoo(
            client, **{name: wanted.pop(name) for name in ("config", "route", "key", "npx")}, **wanted
        )
        sent = {name: wanted[name] for name in ("flag", "variant", "reason", "link")}
        done = client.post("/evals/report", {**sent, "report": report})
        return _finished(client, done, (junit, output), as_json=as_json)


@evals.command("show")
@click.argument("report")
@JUNIT
@OUTPUT
@speaks_to_server
def show_report(client: Client, as_json: bool, report: str, junit: Path | None, output: Path | None) -> None:
    """Show a kept report.

    REPORT is its id, as a ledger entry or a card names it.
    """
    whole = client.get(f"/evals/{report}")
    _write(whole, junit, output)
    show(whole, report_text({**whole, "report": report}, whole), as_json=as_json)


def report_text(done: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """How a run ended, and the cases that did not pass with their reasons."""
    verdict = {True: "passed", False: "NOT PASSED", None: "COULD NOT BE EVALUATED"}[done["passed"]]
    lines = [
        f"{done['flag']}={done['variant']}  {done['suite']}: {verdict}",
        f"  pass rate {share(done['pass_rate'])}, score {done['score']:.3g}, {done['cases']} cases"
        + (f", {done['not_evaluated']} of them not evaluated" if done["not_evaluated"] else ""),
    ]
    # Where it was passed the reason only says the figures again.
    if whole.get("reason") and done["passed"] is not True:
        lines.append(f"  {whole['reason']}")
    amiss = [each for each in whole.get("results", ()) if each.get("passed") is not True]
    lines += [_case_line(each) for each in amiss[:TOLD_CASES]]
    if len(amiss) > TOLD_CASES:
        lines.append(f"  … {len(amiss) - TOLD_CASES} more; the report has all")
    lines.append(f"  report: pointsman eval show {done['report']}")
    return "\n".join(lines)


def _case_line(result: Mapping[str, Any]) -> str:
    mark = "✗" if result.get("passed") is False else "?"
    title = result.get("title") or f"case {result.get('case')}"
    reason = " ".join(str(result.get("reason", "")).split())
    told = reason if len(reason) <= TOLD_CHARACTERS else f"{reason[:TOLD_CHARACTERS]}…"
    again = f" (time {result['repeat']})" if result.get("repeat", 1) > 1 else ""
    return f"  {mark} {title}{again}: {told}"


def _finished(
    client: Client, done: Mapping[str, Any], files: tuple[Path | None, Path | None], *, as_json: bool
) -> int:
    whole = client.get(f"/evals/{done['report']}") if any(files) or not as_json else {}
    _write(whole, *files)
    show(done, report_text(done, whole) if not as_json else "", as_json=as_json)
    return {True: 0, False: REFUSED, None: FAILED}[done["passed"]]


def _followed(client: Client, body: Mapping[str, object]) -> Mapping[str, Any]:
    """The last event of a run: its result. Raises CommandError with what went wrong."""
    with _bar() as tell:
        for name, data in client.told("/evals", body):
            if name == "progress":
                tell(data)
            elif name == "report":
                found: Mapping[str, Any] = data
                return found
            elif name == "error":
                raise CommandError(FAILED, data["error"])
    raise failed("the server ended the run before its report was there", mend="run it again")


@contextmanager
def _bar() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """A progress bar on standard error, where that is a terminal."""
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.console import Console  # noqa: PLC0415  # a quarter of a second: only for a person
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=None)

        def tell(tally: Mapping[str, Any]) -> None:
            words = f"[green]{tally['passed']} ✓[/] [red]{tally['failed']} ✗[/] {tally['not_evaluated']} ?"
            progress.update(task, completed=tally["done"], total=tally["total"], description=words)

        yield tell


@contextmanager
def _never_refused() -> Iterator[None]:
    """Exit 3 says that the gate was not passed; what a rule refuses here was not evaluated (CONTRACT §6)."""
    try:
        yield
    except CommandError as error:
        raise CommandError(FAILED, error.problem) from None


def _suite(path: Path | None) -> Mapping[str, object]:
    """The suite's resolved document and its name, for the body. Raises CommandError for what is none."""
    if path is None:
        return {}
    from flags.errors import Invalid  # noqa: PLC0415  # YAML and JSON: only where a file is read
    from gateway.evals.reading import read_suite  # noqa: PLC0415

    try:
        document = read_suite(path)
    except Invalid as error:
        raise failed(
            error.message, code="invalid_suite", mend=error.mend, path=error.path or str(path)
        ) from None
    return {"suite": document, "suite_name": str(path)}


def _embedding(text: str | None) -> Mapping[str, str] | None:
    if text is None:
        return None
    upstream, slash, model = text.partition("/")
    if not (upstream and slash and model):
        raise click.BadParameter(f"found {text!r}, expected UPSTREAM/MODEL", param_hint="--embedding")
    return {"upstream": upstream, "model": model}


def _by_promptfoo(
    client: Client,
    config: Path,
    *,
    flag: str,
    variant: str,
    route: str,
    key: str | None,
    npx: bool,
    **more: Any,
) -> Mapping[str, Any]:
    """The report that promptfoo's result makes. Raises CommandError where it makes none."""
    from flags.errors import FlagError  # noqa: PLC0415  # heavy: only here
    from gateway.evals.promptfoo import Target, Tool, run_promptfoo  # noqa: PLC0415
    from policies.evals.gate import Thresholds  # noqa: PLC0415
    from policies.evals.report import document  # noqa: PLC0415

    found = client.get(f"/flags/{quote(flag, safe='')}")
    if variant not in found["variants"]:
        names = ", ".join(found["variants"])
        raise failed(
            f'flag "{flag}": variant "{variant}" is not defined (variants: {names})', code="not_found"
        )
    if variant in found["withdrawn"]:
        mend = f"pointsman eval run {flag} {variant} reaches it all the same"
        raise failed(f"{variant} is withdrawn: whoever pins it gets the safe version", mend=mend)
    target = Target(client.url, flag, variant, found["variants"][variant]["hash"], route, key)
    least = more["min_pass_rate"]
    thresholds = Thresholds(*(() if least is None else (least,)))
    thresholds = replace(thresholds, min_score=more["min_score"])
    started = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    try:
        tool = Tool(os.environ, npx=npx)
        return document(run_promptfoo(config, target, tool, thresholds=thresholds, started=started))
    except FlagError as error:
        path = getattr(error, "path", None)
        raise failed(error.message, code="not_evaluated", mend=error.mend, path=path) from None


def _write(whole: Mapping[str, Any], junit: Path | None, output: Path | None) -> None:
    """The report's files. Raises CommandError where one cannot be written."""
    from gateway.evals.junit import junit as as_junit  # noqa: PLC0415  # only where a report is written

    for path, made in ((output, _pretty), (junit, as_junit)):
        try:
            if path is not None:
                path.write_text(made(whole), encoding="utf-8")
        except OSError as error:
            raise failed(f"{path} cannot be written: {error.strerror}") from None


def _pretty(whole: Mapping[str, Any]) -> str:
    return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"
