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
from gateway.retrieval.checks import index_problems, retriever_problems
from gateway.spec import IndexContent, ModelContent, PipelineContent, PromptContent, RetrieverContent
from gateway.spec_base import Spec
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
SERVED = frozenset(Layer)
# What the gateway itself writes into a request's body.
OURS = frozenset({"messages", "model", "stream", "stream_options", "prompt_variables", "prompt"})
# Kinds of upstreams that only retrievers ask.
WITHOUT_MODELS = frozenset({"qdrant"})
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


def retriever_content(value: Json) -> RetrieverContent:
    """`value` as a version of the retriever layer. Raises Invalid. Template and filters are not looked at here."""
    return parse(RetrieverContent, value)


def index_content(value: Json) -> IndexContent:
    """`value` as a version of the index layer. Raises Invalid. Whether there is such an index is not asked."""
    return parse(IndexContent, value)


def pipeline_content(value: Json) -> PipelineContent:
    """`value` as a version of the pipeline layer. Raises Invalid. Whether its pins name something hangs on the route."""
    return parse(PipelineContent, value)


def content_problems(
    layer: Layer | None, value: Json, *, upstreams: Collection[str] | None = None
) -> Iterable[Invalid]:
    """All that is wrong with a content, paths from its own root; nothing when it may be written.

    `upstreams` may be a mapping to their kinds, as far as those are known.
    """
    try:
        canonical(value)
    except Invalid as error:
        return [error]
    if layer is None:
        return []
    shape = problems_of(SHAPES[layer], value)
    unknown: list[Invalid] = []
    if upstreams is not None:
        wrong = {problem.path for problem in shape}
        unknown = [each for each in unknown_upstreams(value, upstreams) if each.path not in wrong]
    if shape:
        # What is wrong with one field hides nothing that is wrong with another.
        return [*shape, *unknown]
    if layer is Layer.MODEL:
        kinds = upstreams if isinstance(upstreams, Mapping) else {}
        return [*unknown, *_of_model(model_content(value), kinds)]
    if layer is Layer.RETRIEVER:
        return [*unknown, *retriever_problems(retriever_content(value), upstreams)]
    if layer is Layer.INDEX:
        return list(index_problems(index_content(value)))
    if layer is Layer.PIPELINE:
        return list(_params_problems(pipeline_content(value).params))
    return list(_of_prompt(prompt_content(value)))


def unknown_upstreams(value: Json, upstreams: Collection[str]) -> Iterable[Invalid]:
    """The upstreams that a version names and that are none of `upstreams`, whatever else is wrong with it."""
    if not isinstance(value, Mapping):
        return
    targets = [("upstream", value)]
    for field in ("targets", "fallbacks"):
        others = value.get(field)
        targets += [
            (f"{field}[{index}].upstream", each)
            for index, each in enumerate(others if isinstance(others, (list, tuple)) else ())
            if isinstance(each, Mapping)
        ]
    embedding = value.get("embedding")
    if isinstance(embedding, Mapping):
        targets.append(("embedding.upstream", embedding))
    for path, target in targets:
        name = target.get("upstream")
        if isinstance(name, str) and name not in upstreams:
            mend = f"define it ({_listed('upstreams', upstreams)})"
            yield Invalid(path, f"upstream {name!r} is not defined", mend=mend)


def _params_problems(params: Mapping[str, object]) -> Iterable[Invalid]:
    for name in sorted(OURS & params.keys()):
        yield Invalid(f"params.{name}", f"`{name}` is written by the gateway", mend="remove it")
    yield from secret_problems(params, "params")


def _of_model(content: ModelContent, kinds: Mapping[str, str | None]) -> Iterable[Invalid]:
    yield from _params_problems(content.params)
    yield from _kind_problems(content, kinds)
    for index, name in enumerate(content.locked):
        if name not in content.params:
            known = _listed("params", content.params)
            yield Invalid(
                f"locked[{index}]",
                f"locks {name!r}, which is none of its params ({known})",
                mend=f"add {name!r} to params",
            )
    yield from _equals_problems(content)


def _kind_problems(content: ModelContent, kinds: Mapping[str, str | None]) -> Iterable[Invalid]:
    named = [("upstream", content.upstream)]
    named += [(f"targets[{index}].upstream", each.upstream) for index, each in enumerate(content.targets)]
    named += [(f"fallbacks[{index}].upstream", each.upstream) for index, each in enumerate(content.fallbacks)]
    for path, name in named:
        kind = kinds.get(name)
        if kind in WITHOUT_MODELS:
            message = f"upstream {name!r} is of kind {kind}, which has no models"
            yield Invalid(path, message, mend="name another upstream; this kind is for retrievers")


def _equals_problems(content: ModelContent) -> Iterable[Invalid]:
    """A target that is named twice: its share would be the sum, which nobody reads there."""
    seen = {(content.upstream, content.model): "the version's own target"}
    for index, each in enumerate(content.targets):
        key = (each.upstream, each.model)
        if key in seen:
            message = f"{each.upstream}/{each.model} is {seen[key]} already"
            yield Invalid(f"targets[{index}]", message, mend="remove it, and raise the other's weight")
        seen.setdefault(key, f"targets[{index}]")


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
