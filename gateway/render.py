"""The body that goes to the upstream: the app's own, with the served prompt and model put in. Pure; bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from flags.model import Json
from gateway.ask import Ask
from gateway.errors import BadRequest, PromptNotRendered
from gateway.prompt import PreparedPrompt
from gateway.route import Decision
from gateway.template import TemplateFailed
from gateway.version import PreparedModel

_encode = msgspec.json.Encoder().encode
Raw = msgspec.Raw

SPACE, END = b" \t\n\r", ord("]")
WITH_USAGE = Raw(b'{"include_usage":true}')


def render(decision: Decision, ask: Ask) -> dict[str, Raw]:
    """The fields of the upstream's body: prompt, parameters and usage put in; only the model's name is still open.

    Raises PromptNotRendered, BadRequest (prompt variables that are no object), NotReady.
    """
    variables = ask.variables()
    fields = dict(ask.fields)
    prompt = decision.prompt
    if prompt is not None:
        put_prompt(fields, prompt, ask, variables)
    put_params(fields, decision.model)
    if ask.stream and not ask.wants_usage:
        fields["stream_options"] = usage_options(fields.get("stream_options"))
    return fields


def put_prompt(
    fields: dict[str, Raw], prompt: PreparedPrompt, ask: Ask, variables: Mapping[str, Json]
) -> None:
    """The prompt's messages come before the app's, which stay as they came; its tools only where the app sends none."""
    if prompt.fixed is None:
        question = ask.question() if prompt.needs_question else ""
        variables = {"passages": [], **variables, "question": question}
    try:
        mine = prompt.render(variables)
    except TemplateFailed as error:
        raise PromptNotRendered(f"the served prompt version does not render: {error}") from error
    fields["messages"] = splice(mine, ask.messages)
    if prompt.tools is not None:
        fields.setdefault("tools", Raw(prompt.tools))
    if prompt.response_format is not None:
        fields.setdefault("response_format", Raw(prompt.response_format))


def splice(mine: bytes, messages: Raw) -> Raw:
    """`mine` before the elements of the JSON array `messages`; they are copied once.

    >>> bytes(splice(b'{"a":1}', Raw(b'[{"b":2}]')))
    b'[{"a":1},{"b":2}]'
    """
    if not mine:
        return messages
    theirs = memoryview(messages)
    first = 1
    while theirs[first] in SPACE:
        first += 1
    between = b"" if theirs[first] == END else b","
    return Raw(b"".join((b"[", mine, between, theirs[first:])))


def put_params(fields: dict[str, Raw], model: PreparedModel) -> None:
    """The model version's parameters, where the app sent none or the version has locked them."""
    for name, value in model.fields.items():
        if name not in fields or name in model.locked:
            fields[name] = Raw(value)


def usage_options(sent: Raw | None) -> Raw:
    """The app's `stream_options` with the usage chunk asked for."""
    if sent is None or bytes(sent) == b"null":
        return WITH_USAGE
    options: dict[str, Raw] = msgspec.json.decode(sent, type=dict[str, Raw])
    options["include_usage"] = Raw(b"true")
    return Raw(_encode(options))


def body_for(fields: dict[str, Raw], model: bytes) -> bytes:
    """The body with the provider's name of the model in place of the route's. Raises BadRequest when it cannot be written."""
    fields["model"] = Raw(model)
    try:
        return _encode(fields)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"the body cannot be sent on: {error}") from error
