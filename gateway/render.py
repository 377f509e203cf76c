"""The fields of the body that goes to the upstream: the app's own, with the served prompt and parameters put in. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway.ask import Ask
from gateway.decision import Decision
from gateway.errors import PromptNotRendered
from gateway.template import TemplateFailed
from gateway.wires.params import put_params

Raw = msgspec.Raw
NOTHING_LOCKED: frozenset[str] = frozenset()


def render(decision: Decision, ask: Ask, passages: Sequence[object] = ()) -> dict[str, Raw]:
    """The fields of the upstream's body: prompt, parameters and usage put in; only the model's name is still open.

    Raises PromptNotRendered, BadRequest (prompt variables that are no object), NotReady.
    """
    variables = ask.variables()
    fields = dict(ask.fields)
    prompt = decision.prompt
    if prompt is not None:
        if prompt.fixed is None:
            question = ask.question() if prompt.needs_question else ""
            variables = {**variables, "passages": passages, "question": question}  # type: ignore[dict-item]  # for a template only
        try:
            ask.wire.put_prompt(fields, prompt, variables)
        except TemplateFailed as error:
            raise PromptNotRendered(f"the served prompt version does not render: {error}") from error
    model = decision.model
    pipeline = decision.pipeline
    if pipeline is not None:
        # What the pipeline says stands before the model's own, as the app's does: but not before what that has locked.
        put_params(fields, pipeline.on(ask.wire.name), NOTHING_LOCKED)
    put_params(fields, model.on(ask.wire.name), model.locked)
    ask.wire.ask_usage(fields, ask)
    return fields
