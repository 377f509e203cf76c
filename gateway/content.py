"""Variants' content, layer by layer: what may be written, and why not. Knows shapes and templates, no flag's state.

A content is checked when it is written, so that nothing is found out while it is served.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType

from flags.canonical import canonical
from flags.errors import Invalid
from flags.model import Json, Layer
from gateway.checking import parse, problems_of
from gateway.spec import IndexContent, ModelContent, PipelineContent, PromptContent, RetrieverContent, Spec
from gateway.template import OverBudget, TemplateFailed, TemplateInvalid, compile_template

SHAPES: Mapping[Layer, type[Spec]] = MappingProxyType(
    {
        Layer.PIPELINE: PipelineContent,
        Layer.PROMPT: PromptContent,
        Layer.RETRIEVER: RetrieverContent,
        Layer.INDEX: IndexContent,
        Layer.MODEL: ModelContent,
    }
)
SERVED = frozenset({Layer.PROMPT, Layer.MODEL})
# What the gateway itself writes into a request's body.
OURS = frozenset({"messages", "model", "stream", "stream_options", "prompt_variables", "prompt"})
# Parameters that carry a secret; `max_tokens` is none of them.
SECRET_NAME = re.compile(
    r"(?i)(api[_-]?key|secret|password|passwd|(access|auth|bearer|id)[_-]?token|^token$|credential|private[_-]?key)"
)
SECRET_REFERENCE = re.compile(r"(os\.environ/.+|file:/.+)")


def model_content(value: Json) -> ModelContent:
    """`value` as a version of the model layer. Raises Invalid."""
    return parse(ModelContent, value)


def prompt_content(value: Json) -> PromptContent:
    """`value` as a version of the prompt layer. Raises Invalid. Templates are not compiled here."""
    return parse(PromptContent, value)


def content_problems(
    layer: Layer | None, value: Json, *, upstreams: Collection[str] | None = None
) -> Iterable[Invalid]:
    """All that is wrong with a content, paths from its own root; nothing when it may be written."""
    try:
        canonical(value)
    except Invalid as error:
        return [error]
    if layer is None:
        return []
    shape = problems_of(SHAPES[layer], value)
    if layer not in SERVED:
        message = f"the {layer} layer is not served yet by this version"
        return [*shape, Invalid("", message, mend="leave this flag out; prompt and model are served")]
    unknown: list[Invalid] = []
    if layer is Layer.MODEL and upstreams is not None:
        wrong = {problem.path for problem in shape}
        unknown = [each for each in unknown_upstreams(value, upstreams) if each.path not in wrong]
    if shape:
        # What is wrong with one field hides nothing that is wrong with another.
        return [*shape, *unknown]
    if layer is Layer.MODEL:
        return [*unknown, *_of_model(model_content(value))]
    return list(_of_prompt(prompt_content(value)))


def unknown_upstreams(value: Json, upstreams: Collection[str]) -> Iterable[Invalid]:
    """The upstreams that a model version names and that are none of `upstreams`, whatever else is wrong with it."""
    if not isinstance(value, Mapping):
        return
    fallbacks = value.get("fallbacks")
    targets = [("upstream", value)]
    targets += [
        (f"fallbacks[{index}].upstream", each)
        for index, each in enumerate(fallbacks if isinstance(fallbacks, (list, tuple)) else ())
        if isinstance(each, Mapping)
    ]
    for path, target in targets:
        name = target.get("upstream")
        if isinstance(name, str) and name not in upstreams:
            mend = f"define it ({_listed('upstreams', upstreams)})"
            yield Invalid(path, f"upstream {name!r} is not defined", mend=mend)


def _of_model(content: ModelContent) -> Iterable[Invalid]:
    for name in sorted(OURS & content.params.keys()):
        yield Invalid(f"params.{name}", f"`{name}` is written by the gateway", mend="remove it")
    yield from secret_problems(content.params, "params")
    for index, name in enumerate(content.locked):
        if name not in content.params:
            known = _listed("params", content.params)
            yield Invalid(
                f"locked[{index}]",
                f"locks {name!r}, which is none of its params ({known})",
                mend=f"add {name!r} to params",
            )


def secret_problems(params: Mapping[str, object], path: str) -> Iterable[Invalid]:
    """Fields that should hold a secret and hold its text; the text is not repeated."""
    for name, value in params.items():
        if isinstance(value, str) and SECRET_NAME.search(name) and not SECRET_REFERENCE.fullmatch(value):
            yield Invalid(
                f"{path}.{name}",
                "a secret stands here in plain text",
                mend="write os.environ/NAME or file:/path",
            )


def _of_prompt(content: PromptContent) -> Iterable[Invalid]:
    if not content.messages:
        yield Invalid("messages", "there are no messages", mend="add one: {role: system, content: …}")
    # The app may send more than these: a variable without a default is allowed, and tried as far as it goes.
    given: dict[str, object] = {"question": "", "passages": [], **content.variables}
    for index, message in enumerate(content.messages):
        path = f"messages[{index}].content"
        try:
            template = compile_template(message.content)
        except TemplateInvalid as error:
            yield Invalid(path, error.message, mend=error.mend)
            continue
        try:
            template.render(given)
        except OverBudget as error:
            yield Invalid(path, error.message, mend=error.mend)
        except TemplateFailed as error:
            if template.names <= given.keys():
                yield Invalid(path, error.message, mend=error.mend)


def _listed(what: str, names: Iterable[str]) -> str:
    return f"{what}: {', '.join(sorted(names)) or 'none'}"
