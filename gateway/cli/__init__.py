"""The command line: which verb lives in which module. Imports only click, so that `pointsman` starts at once.

CONTRACT §6 holds the verbs and exit codes: 0 done, 1 failed, 2 usage, 3 refused by a rule, 4 differences.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import NamedTuple, NoReturn

import click

from gateway import __version__
from gateway.cli.problem import CommandError, tell

USAGE = 2
# What a shell reports for a program that Ctrl-C, or a closed pipe, has ended (128 + the signal).
INTERRUPTED, PIPE_CLOSED = 130, 141


class _Verb(NamedTuple):
    module: str
    help: str
    # The command's own name in that module, where the verb is a word of Python's.
    command: str = ""


VERBS: Mapping[str, _Verb] = MappingProxyType(
    {
        "demo": _Verb("run", "See the machine pull the brake, or (--real) a real model."),
        "serve": _Verb("run", "Run the gateway."),
        "init": _Verb("files", "Write a commented config file to start from."),
        "check": _Verb("files", "Check a config file without a server."),
        "index": _Verb("index", "Make a folder of texts searchable (build, list, search)."),
        "apply": _Verb("declare", "Write what a config file declares."),
        "diff": _Verb("declare", "Show what `apply` would change, or how two versions differ."),
        "export": _Verb("declare", "Print everything as a config file, or flags for flagd."),
        "import": _Verb("importing", "Make a config file of LiteLLM's, or of a flagd file.", "import_file"),
        "status": _Verb("look", "Show what is served, of all or of one route or flag."),
        "top": _Verb("top", "Watch routes and versions: figures, evidence, rollbacks."),
        "explain": _Verb("look", "Say why a context gets what it gets from a route or a flag."),
        "workers": _Verb("look", "Show the workers and how far they follow."),
        "breakers": _Verb("breakers", "Show the breakers of all workers, or force one."),
        "eval": _Verb(
            "evals", "Run a suite of evals on a version, through the gateway (run, promptfoo, show).", "evals"
        ),
        "policies": _Verb("policies", "List the policies in force, or test them on recorded outcomes."),
        "notices": _Verb("notices", "List what people are told, send dead notices again, try a channel."),
        "keys": _Verb("keys", "Make, list, rotate and revoke apps' keys and operators' tokens."),
        "log": _Verb("history", "Print the ledger, oldest first."),
        "changelog": _Verb("changelog", "Print what changed of a flag, field by field, and why."),
        "audit": _Verb("audit", "Verify, anchor, export or archive the ledger."),
        "switch": _Verb("verbs", "Serve one variant to all."),
        "rollout": _Verb("verbs", "Give a candidate a share of the users, or steer its rollout."),
        "shadow": _Verb("verbs", "Send a version copies of requests; nobody sees its answers."),
        "rollback": _Verb("verbs", "Serve the safe variant alone, on every worker."),
        "withdraw": _Verb("verbs", "Take one variant out of service."),
        "restore": _Verb("verbs", "Put a withdrawn variant back."),
        "quarantine": _Verb("quarantine", "Take a version's content out of service, or let it out again."),
        "revert": _Verb("verbs", "Make an object again what it was."),
        "versions": _Verb("versions", "List the versions of a flag: stage, eval, approvals."),
        "lifecycle": _Verb("versions", "Show what versions lack, and which is the last known good one."),
        "approve": _Verb("versions", "Approve a version of somebody else."),
        "reject": _Verb("versions", "Take all approvals of a version away."),
        "deprecate": _Verb("versions", "Say that a version is not to be gone to any more."),
    }
)


class LazyGroup(click.Group):
    """A group that imports a verb's module only when the verb is run; help comes from the table above."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All verbs, in the table's order."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The verb's own command."""
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        command: click.Command = getattr(
            import_module(f"gateway.cli.{verb.module}"), verb.command or cmd_name
        )
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, verb.help) for name, verb in VERBS.items()])


@click.group(
    cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="pointsman")
def cli() -> None:
    """An LLM gateway with feature flags: serve, measure and roll back prompts, models, retrievers, indexes, pipelines."""


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and end the process with its exit code; no input shows a stack trace."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(run(given))


def run(arguments: Sequence[str]) -> int:
    """Run one command; its exit code."""
    try:
        code = _run(arguments, as_json="--json" in arguments)
        sys.stdout.flush()
        return code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read us has left; say nothing more, not even at the interpreter's own last flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED


def _run(arguments: Sequence[str], *, as_json: bool) -> int:
    try:
        # Not `cli.main`: that has its own, louder ways with Ctrl-C and closed pipes.
        with cli.make_context("pointsman", list(arguments)) as context:
            result = cli.invoke(context)
        return result if isinstance(result, int) else 0
    except CommandError as failed:
        return tell(failed, as_json=as_json)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        return _usage(error, as_json=as_json)


def _usage(error: click.ClickException, *, as_json: bool) -> int:
    if as_json:
        tell(CommandError(USAGE, {"code": "usage", "message": error.format_message()}), as_json=True)
    else:
        error.show()
    return error.exit_code
