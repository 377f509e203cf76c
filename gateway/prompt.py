"""A prompt version, ready to be put before an app's messages. Knows templates and JSON, not the request around them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from flags.model import Json
from gateway.spec import PromptContent
from gateway.template import Template, TemplateFailed, compile_template

# What the gateway itself gives to a template; all other names come from the version's defaults and the app.
GIVEN = frozenset({"question", "passages"})

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class PreparedMessage:
    """One message: its template, and the JSON around the content."""

    template: Template
    head: bytes
    tail: bytes = b"}"


@dataclass(frozen=True, slots=True)
class PreparedPrompt:
    """A prompt version. `fixed` is the JSON of all its messages (joined by commas, no brackets) when
    nothing but the defaults is needed to render it; None when it must be rendered for each request."""

    messages: tuple[PreparedMessage, ...]
    defaults: Mapping[str, object]
    names: frozenset[str]
    fixed: bytes | None
    tools: bytes | None = None
    response_format: bytes | None = None

    @property
    def needs_question(self) -> bool:
        """Whether the last user message must be read to render this."""
        return "question" in self.names

    def render(self, variables: Mapping[str, Json]) -> bytes:
        """The JSON of all messages, joined by commas. Raises TemplateFailed."""
        if self.fixed is not None and self.names.isdisjoint(variables):
            return self.fixed
        values = {**self.defaults, **variables}
        return render_messages(self.messages, values)


def prepare_prompt(content: PromptContent) -> PreparedPrompt:
    """Compile every template. Raises TemplateInvalid (a FlagError) with the line."""
    messages = tuple(prepare_message(m.role, m.name, m.content) for m in content.messages)
    names = frozenset[str]().union(*(m.template.names for m in messages))
    return PreparedPrompt(
        messages,
        content.variables,
        names,
        fixed_messages(messages, names, content.variables),
        None if content.tools is None else _encode(content.tools),
        None if content.response_format is None else _encode(content.response_format),
    )


def prepare_message(role: str, name: str | None, source: str) -> PreparedMessage:
    fields = {"role": role} if name is None else {"role": role, "name": name}
    return PreparedMessage(compile_template(source), _encode(fields)[:-1] + b',"content":')


def fixed_messages(
    messages: tuple[PreparedMessage, ...], names: frozenset[str], defaults: Mapping[str, object]
) -> bytes | None:
    """Render now what no request can change, unless a name is missing that only the app can send."""
    if names & GIVEN or not names <= defaults.keys():
        return None
    try:
        return render_messages(messages, defaults)
    except TemplateFailed:
        return None  # it will fail for each request alike, and be that version's failure each time


def render_messages(messages: tuple[PreparedMessage, ...], values: Mapping[str, object]) -> bytes:
    return b",".join([m.head + _encode(m.template.render(values)) + m.tail for m in messages])
