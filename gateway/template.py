"""Prompt templates: compiled once, rendered within a budget, and never able to hurt the process. Knows no flag and no route.

TemplateInvalid   the source does not compile: line, message, mend
TemplateFailed    this rendering failed: a variable is missing, an operation made no sense, the budget ran out

The language is Jinja's (see `gateway.sandbox` for what is in it); the result is text, nothing is escaped.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

import jinja2
from jinja2 import meta

from flags.errors import FlagError
from gateway.sandbox.environment import Sandbox
from gateway.sandbox.filters import MeteredContext
from gateway.sandbox.meter import Exceeded, Limits, Meter

# Longer than any prompt, and compiled in milliseconds where most of it is text.
SOURCE_CHARS_MAX = 256 * 1024
# An error quotes what it found; templates can make that arbitrarily long.
MESSAGE_CHARS_MAX = 300


class TemplateInvalid(FlagError):
    """Raised when a source is no template; `line` counts from 1."""

    def __init__(self, message: str, *, line: int | None = None, mend: str | None = None) -> None:
        super().__init__(f"line {line}: {message}" if line else message, mend=mend)
        self.line = line


class TemplateFailed(FlagError):
    """Raised when a template does not render. `variable` is the name that the app did not send, where that was it."""

    def __init__(
        self, message: str, *, line: int | None = None, variable: str | None = None, mend: str | None = None
    ) -> None:
        super().__init__(f"line {line}: {message}" if line else message, mend=mend)
        self.line = line
        self.variable = variable


class OverBudget(TemplateFailed):
    """Raised when a rendering would exceed its budget of text, steps or CPU time."""


@dataclass(frozen=True, slots=True)
class Template:
    """A compiled template. `names` are the variables it looks up."""

    source: str
    names: frozenset[str]
    limits: Limits
    clock: Callable[[], float]
    _compiled: jinja2.Template
    _sandbox: Sandbox

    def render(self, variables: Mapping[str, object]) -> str:
        """The text; `variables` hold JSON. Raises TemplateFailed (OverBudget among them), whatever the template does."""
        context = MeteredContext(self._sandbox, {**self._sandbox.globals, **variables}, None, {})
        context.meter = Meter(self.limits, self.clock)
        try:
            rendered = "".join(self._compiled.root_render_func(context))
        except jinja2.UndefinedError as error:
            raise self._undefined(error) from None
        except Exceeded as error:
            raise OverBudget(
                f"{error}",
                line=self._line(error.__traceback__),
                mend="let it make less: fewer rounds, shorter text",
            ) from None
        except Exception as error:  # noqa: BLE001  # the edge: the code that ran is the template's, and may raise anything
            message = _brief(str(error)) or type(error).__name__
            raise TemplateFailed(message, line=self._line(error.__traceback__)) from None
        if len(rendered) > self.limits.output_chars:
            raise OverBudget(
                f"its text is longer than {self.limits.output_chars} characters", mend="shorten it"
            )
        return rendered

    def _undefined(self, error: jinja2.UndefinedError) -> TemplateFailed:
        line, message = self._line(error.__traceback__), _brief(str(error))
        name = next((name for name in self.names if message == f"{name!r} is undefined"), None)
        mend = f"send {name!r} in prompt_variables, or give it a default in `variables`" if name else None
        return TemplateFailed(
            message, line=line, variable=name, mend=mend or "test it with `is defined`, or use `default`"
        )

    def _line(self, trace: TracebackType | None) -> int | None:
        """The template's line on which an error arose: the innermost frame of its code."""
        line = None
        while trace is not None:
            if trace.tb_frame.f_code.co_filename == self._compiled.filename:
                line = self._compiled.get_corresponding_lineno(trace.tb_lineno)
            trace = trace.tb_next
        return line


def compile_template(
    source: str, *, limits: Limits | None = None, clock: Callable[[], float] = time.thread_time
) -> Template:
    """A template of `source`. Raises TemplateInvalid.

    `clock` counts CPU seconds, so that a machine that stalls is not the template's fault.
    """
    if len(source) > SOURCE_CHARS_MAX:
        raise TemplateInvalid(f"it has {len(source)} characters; {SOURCE_CHARS_MAX} are the most")
    sandbox = Sandbox()
    try:
        tree = sandbox.parse(source)
        names = meta.find_undeclared_variables(tree) - sandbox.globals.keys()
        compiled = jinja2.Template.from_code(
            sandbox, sandbox.compile(tree, filename="<prompt>"), sandbox.globals
        )
    except jinja2.TemplateSyntaxError as error:
        raise TemplateInvalid(_brief(error.message or "syntax error"), line=error.lineno) from None
    except (RecursionError, MemoryError, SyntaxError):
        raise TemplateInvalid(
            "it is nested too deeply", mend="split the expression, or use fewer loops in loops"
        ) from None
    except Exception as error:  # noqa: BLE001  # the edge: the parser meets anything that people type
        raise TemplateInvalid(_brief(str(error)) or type(error).__name__) from None
    return Template(source, frozenset(names), limits or Limits(), clock, compiled, sandbox)


def _brief(message: str) -> str:
    return message if len(message) <= MESSAGE_CHARS_MAX else message[:MESSAGE_CHARS_MAX] + "…"
