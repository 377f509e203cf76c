"""A prompt version, ready to be put before an app's messages. Knows templates and JSON, not the request around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from flags.model import Json
from gateway.spec import PromptContent
from gateway.template import Template, TemplateFailed, compile_template
from gateway.wires.params import NO_PARAMS, params_by_wire

# What the gateway itself gives to a template; all other names come from the version's defaults and the app.
GIVEN = frozenset({"question", "passages"})

_encode = msgspec.json.Encoder().encode


class Said(NamedTuple):
    """One rendered message."""

    role: str
    text: str


@dataclass(frozen=True, slots=True)
class PreparedMessage:
    """One message: its template, and the JSON around the content."""

    role: str
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
    # The same as text, for wires that have no messages like chat's.
    fixed_said: tuple[Said, ...]
    # Its tools and its answer format, by wire and then by their name there.
    extras: Mapping[str, Mapping[str, bytes]]

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

    def said(self, variables: Mapping[str, Json]) -> Sequence[Said]:
        """All messages as role and text, for wires that have no messages like chat's. Raises TemplateFailed."""
        if self.fixed is not None and self.names.isdisjoint(variables):
            return self.fixed_said
        return render_texts(self.messages, {**self.defaults, **variables})

    def extras_on(self, wire: str) -> Mapping[str, bytes]:
        """What it brings besides its messages, where the app sends none, as `wire` has it."""
        return self.extras.get(wire, NO_PARAMS)


def prepare_prompt(content: PromptContent) -> PreparedPrompt:
    """Compile every template. Raises TemplateInvalid (a FlagError) with the line."""
    messages = tuple(prepare_message(m.role, m.name, m.content) for m in content.messages)
    names = frozenset[str]().union(*(m.template.names for m in messages))
    fixed = fixed_messages(messages, names, content.variables)
    extras = {"tools": content.tools, "response_format": content.response_format}
    return PreparedPrompt(
        messages,
        content.variables,
        names,
        fixed,
        () if fixed is None else render_texts(messages, content.variables),
        params_by_wire({name: value for name, value in extras.items() if value is not None}),
    )


def prepare_message(role: str, name: str | None, source: str) -> PreparedMessage:
    fields = {"role": role} if name is None else {"role": role, "name": name}
    return PreparedMessage(role, compile_template(source), _encode(fields)[:-1] + b',"content":')


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


def render_texts(messages: tuple[PreparedMessage, ...], values: Mapping[str, object]) -> tuple[Said, ...]:
    return tuple([Said(m.role, m.template.render(values)) for m in messages])
