"""The verbs that run something: serve and demo. All that is heavy is imported when they run, not before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from gateway.settings import Settings, default_data_dir


@click.command
@click.option("--config", "-c", type=click.Path(dir_okay=False), metavar="FILE", help="Declare what it says.")
@click.option(
    "--flagd", type=click.Path(dir_okay=False), metavar="FILE", help="Follow the flags of this flagd file."
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=4000, show_default=True, help="0 picks one.")
@click.option("--workers", type=click.IntRange(1, 256), default=1, show_default=True, help="Processes.")
@click.option("--redis", envvar="REDIS_URL", metavar="URL", help="Redis or Valkey; else an embedded one.")
@click.option("--data-dir", metavar="D", help="For snapshot, embedded store and server.json.")
@click.option("--namespace", default="default", show_default=True, metavar="NS", help="Whose flags.")
@click.option(
    "--record",
    type=click.Path(dir_okay=False),
    metavar="FILE",
    help="Append each outcome and score to FILE, up to 256 MiB, for `policies test --replay FILE`. No text of"
    " anybody's is in it, and users are hashed.",
)
def serve(
    config: str | None,
    flagd: str | None,
    redis: str | None,
    data_dir: str | None,
    record: str | None,
    **given: Any,
) -> int:
    """Run the gateway until it is told to stop (Ctrl-C, or SIGTERM)."""
    from gateway.supervisor import run  # noqa: PLC0415  # heavy: only here

    folder = Path(data_dir).expanduser() if data_dir else default_data_dir(os.environ)
    settings = Settings(
        data_dir=str(folder.resolve()),
        redis=redis or None,
        config=str(Path(config).resolve()) if config else None,
        # Not resolved: where it is a link, it is followed to what it leads to then.
        flagd=str(Path(flagd).absolute()) if flagd else None,
        record=str(Path(record).resolve()) if record else None,
        **given,
    )
    return run(settings)


@click.command
@click.option("--once", is_flag=True, help="End after the show: exit 0 if all happened as it should.")
@click.option(
    "--real",
    is_flag=True,
    help="Instead, a small real chat model on this CPU answers from an index; it says what to install.",
)
def demo(once: bool, real: bool) -> int:
    """Start all it needs, show the machine pull the brake under live traffic, clean up."""
    if real:
        from gateway.demo.real_show import run as run_real  # noqa: PLC0415  # heavy: only here

        return run_real()
    from gateway.demo import run  # noqa: PLC0415  # heavy: only here

    return run(once=once)
