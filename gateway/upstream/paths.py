"""Which paths each family of providers speaks, and how its keys are sent. Knows no connection and no body."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gateway.upstream.base import Headers


@dataclass(frozen=True, slots=True)
class Manner:
    """How one kind of provider is spoken to.

    `prefix` stands between the base URL and a wire's path. The key goes into `key_header`, after `key_prefix`.
    `defaults` are headers that an app's own displace. `base_url` holds where the document gives none; where
    it must, `example` shows how.
    """

    speaks: Callable[[str], bool]
    key_header: bytes
    key_prefix: bytes = b""
    prefix: str = ""
    base_url: str | None = None
    example: str = ""
    defaults: Headers = ()


def is_openai(path: str) -> bool:
    """Whether OpenAI, and what is compatible with it, has this path: all that is nobody else's."""
    return not _below(path, "/messages") and not _below(path, "/collections")


def is_anthropic(path: str) -> bool:
    """Whether Anthropic has this path: messages, their tokens and batches, and the models."""
    return _below(path, "/messages") or _below(path, "/models")


def is_qdrant(path: str) -> bool:
    """Whether Qdrant has this path: everything about one collection."""
    return path.startswith("/collections/")


def _below(path: str, root: str) -> bool:
    return path.startswith(root) and path[len(root) : len(root) + 1] in ("", "/", "?")


OPENAI = Manner(is_openai, b"authorization", b"Bearer ", example="https://api.openai.com/v1")
# 2023-06-01 is the one version of Anthropic's API that both official SDKs send.
ANTHROPIC = Manner(
    is_anthropic,
    b"x-api-key",
    prefix="/v1",
    base_url="https://api.anthropic.com",
    defaults=((b"anthropic-version", b"2023-06-01"),),
)
QDRANT = Manner(is_qdrant, b"api-key", example="http://127.0.0.1:6333")

# By the `kind` of the upstream's document.
MANNERS: Mapping[str, Manner] = {"openai": OPENAI, "anthropic": ANTHROPIC, "qdrant": QDRANT}

# The hot paths, all without an id: only their request heads are worth keeping. They answer with JSON or events.
PLAIN_PATHS = frozenset(
    (
        "/chat/completions", "/completions", "/embeddings", "/responses", "/messages", "/messages/count_tokens",
        "/models", "/images/generations",
    )
)  # fmt: skip
