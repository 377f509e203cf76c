"""What may be written as a retriever or an index, and why not. Knows contents and kinds; asks no store (`preflight` does)."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from flags.errors import Invalid
from gateway.retrieval.retriever import UPSTREAM_KINDS, prepare_retriever
from gateway.spec import IndexContent, RetrieverContent
from gateway.template import TemplateFailed, TemplateInvalid, compile_template

# What a retriever of a kind has a use for, besides the fields that all have.
_FIELDS = (("embedding", "qdrant"), ("vector", "qdrant"), ("mode", "embedded"))
EMBEDDING_KINDS = frozenset({"openai", "litellm", "simulated"})


def retriever_problems(
    content: RetrieverContent, upstreams: Collection[str] | None = None
) -> Iterator[Invalid]:
    """What is wrong with a retriever whose shape is right; `upstreams` may map names to kinds."""
    kinds = upstreams if isinstance(upstreams, Mapping) else {}
    yield from _upstream_problems(content, kinds)
    if content.embedding is not None and kinds.get(content.embedding.upstream) not in {
        None,
        *EMBEDDING_KINDS,
    }:
        found = kinds[content.embedding.upstream]
        message = f"upstream {content.embedding.upstream!r} is of kind {found}, which makes no embeddings"
        yield Invalid("embedding.upstream", message, mend=f"name one of {_listed(EMBEDDING_KINDS)}")
    for field, kind in _FIELDS:
        if getattr(content, field) is not None and content.kind != kind:
            message = f"a retriever of kind {content.kind} has no `{field}`"
            yield Invalid(field, message, mend=f"remove it: only {kind} ones have")
    if content.kind == "qdrant" and content.embedding is None:
        mend = "add embedding: {upstream: NAME, model: MODEL}, the model that embedded the collection"
        yield Invalid("", "`embedding` is missing: Qdrant searches by vectors", mend=mend)
    yield from _text_problems(content)


def _upstream_problems(content: RetrieverContent, kinds: Mapping[str, str | None]) -> Iterator[Invalid]:
    fitting = UPSTREAM_KINDS[content.kind]
    if not fitting:
        if content.upstream is not None:
            message = "an embedded index lies in this gateway, and has no upstream"
            yield Invalid("upstream", message, mend="remove it")
        return
    if content.upstream is None:
        mend = f"name an upstream of kind {_listed(fitting)}"
        yield Invalid("", f"`upstream` is missing: a retriever of kind {content.kind} asks one", mend=mend)
        return
    kind = kinds.get(content.upstream)
    if kind is not None and kind not in fitting:
        message = f"upstream {content.upstream!r} is of kind {kind}; expected {_listed(fitting)}"
        yield Invalid("upstream", message, mend="name another upstream, or another kind of retriever")


def _text_problems(content: RetrieverContent) -> Iterator[Invalid]:
    """Its template and its filters, each tried as far as that goes without a request."""
    if content.query is not None:
        try:
            template = compile_template(content.query)
            if template.names <= {"question"}:
                template.render({"question": ""})
        except (TemplateInvalid, TemplateFailed) as error:
            yield Invalid("query", error.message, mend=error.mend)
            return
    try:
        prepare_retriever(content)
    except Invalid as error:
        yield error


def index_problems(content: IndexContent) -> Iterator[Invalid]:
    """A store that no address can name; whether it exists is asked when a flag may point to it."""
    if content.store in (".", "..") or not content.store.isprintable():
        yield Invalid(
            "store", f"{content.store!a} names no store", mend="write the store's id, or the index's name"
        )


def _listed(kinds: Collection[str]) -> str:
    return " or ".join(sorted(kinds))
