"""From a request in a wire's format to a call of litellm: which function, with which arguments.

Knows no connection and no answer. An app's field is only passed on where it is known to be the wire's: litellm takes
its own settings (addresses, keys, files of credentials) as arguments of the same call, and no app may give those.
"""

from __future__ import annotations

import asyncio
import importlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote

import msgspec

from gateway.errors import NotServed
from gateway.upstream.base import UpstreamRequest
from gateway.upstream.translated_errors import Refusal

# `Any`: JSON on its way to a library without types.
Fields = dict[str, Any]


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


CHAT = _names(
    """messages tools tool_choice temperature top_p n stop max_tokens max_completion_tokens presence_penalty
    frequency_penalty logit_bias user response_format seed logprobs top_logprobs parallel_tool_calls functions
    function_call reasoning_effort verbosity modalities prediction audio service_tier store safety_identifier
    prompt_cache_key prompt_cache_retention web_search_options stream stream_options thinking"""
)
COMPLETIONS = _names(
    """prompt best_of echo frequency_penalty logit_bias logprobs max_tokens n presence_penalty seed stop suffix
    temperature top_p user stream stream_options"""
)
EMBEDDINGS = _names("input dimensions encoding_format user input_type")
RESPONSES = _names(
    """input instructions tools tool_choice temperature top_p max_output_tokens previous_response_id reasoning store
    text truncation user metadata parallel_tool_calls include background max_tool_calls prompt prompt_cache_key
    prompt_cache_retention safety_identifier service_tier stream stream_options top_logprobs conversation"""
)
MESSAGES = _names(
    """messages max_tokens system temperature top_p top_k stop_sequences tools tool_choice thinking metadata stream
    service_tier container context_management output_config output_format cache_control speed inference_geo"""
)
SEARCH = _names("query filters max_num_results ranking_options rewrite_query")
# What several providers know though OpenAI does not.
COMMON = _names(
    "top_k min_p top_a repetition_penalty safety_settings cache_control context_management mirostat"
)

PATHS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "/chat/completions": CHAT,
        "/completions": COMPLETIONS,
        "/embeddings": EMBEDDINGS,
        "/responses": RESPONSES,
        "/messages": MESSAGES,
        "/messages/count_tokens": MESSAGES,
    }
)
STREAMED = frozenset(("/chat/completions", "/completions", "/responses", "/messages"))
SERVED = f"{', '.join(PATHS)} and /vector_stores/ID/search"

# These take any other field in `extra_body`, which is sent and not looked at.
OPENAI_LIKE = frozenset(("openai", "azure", "custom_openai", "text-completion-openai"))
# Who makes no embeddings at all; litellm says so of a provider only in words about its own settings.
WITHOUT_EMBEDDINGS = frozenset(("anthropic",))
# They count tokens themselves; for all others it is done here.
COUNTING = frozenset(("anthropic", "bedrock", "vertex_ai", "gemini", "azure_ai"))

# Seconds. A client of litellm is kept by its timeout too: with one for every request, each would open connections of its
# own. Deadlines are ours; these only end what cannot be cancelled (a provider's library in a thread).
TIMEOUTS = (16.0, 64.0, 256.0, 1024.0)


@dataclass(frozen=True, slots=True)
class Manner:
    """How an upstream is asked: what every call of it has in common. `fixed` holds secrets."""

    provider: str
    fixed: Mapping[str, object]
    connect_seconds: float

    @property
    def drops(self) -> bool:
        """Whether what the provider does not know is left out rather than refused."""
        return self.fixed.get("drop_params") is True


@dataclass(frozen=True, slots=True)
class Call:
    """What to await, and whether a stream comes of it."""

    function: Callable[..., Awaitable[object]]
    arguments: Fields
    streams: bool
    # Whether vectors are wanted in base64 of a provider that only knows numbers: OpenAI's SDKs always ask for that.
    in_base64: bool = False


def store_of(path: str) -> str | None:
    """The vector store that a path asks to search, None where it asks for something else."""
    if path.startswith("/vector_stores/") and path.endswith("/search"):
        name = path[len("/vector_stores/") : -len("/search")]
        return unquote(name) if name and "/" not in name else None
    return None


def serves(path: str) -> bool:
    """Whether a request with this path can be translated."""
    return path in PATHS or store_of(path) is not None


def call_for(
    litellm: Any, request: UpstreamRequest, manner: Manner, seconds: float
) -> Call:  # `Any`: a library without types
    """The call that answers `request` within `seconds`. Raises Refusal where it is none of ours, NotServed where nobody
    answers such a one."""
    if not serves(request.path) or request.method != "POST":
        raise Refusal(
            404, f"a translating upstream has no {request.method} {request.path}; it serves {SERVED}"
        )
    fields = _decoded(request.body)
    streams = request.path in STREAMED and fields.get("stream") is True
    arguments: Fields = {
        **manner.fixed,
        **_passed(litellm, fields, request.path, manner),
        "timeout": _timeout(manner, TIMEOUTS[-1] if streams else seconds),
        "num_retries": 0,
        "max_retries": 0,
        # An app's tools are the provider's business: litellm would start a gateway for MCP, from a package of its own.
        "_skip_mcp_handler": True,
    }
    store = store_of(request.path)
    if store is not None:
        del arguments["_skip_mcp_handler"]
        arguments |= {"vector_store_id": store, "custom_llm_provider": manner.provider}
        return Call(litellm.vector_stores.asearch, arguments, streams=False)
    arguments["model"] = f"{manner.provider}/{fields.get('model', '')}"
    if request.path == "/embeddings":
        return _embedding(litellm, arguments, manner)
    return Call(_function(litellm, request.path, manner), arguments, streams)


def _embedding(litellm: Any, arguments: Fields, manner: Manner) -> Call:
    if manner.provider in WITHOUT_EMBEDDINGS:
        raise NotServed(f"{manner.provider} makes no embeddings; ask a route whose model makes them")
    del arguments["_skip_mcp_handler"]
    encoding = None
    if manner.provider not in OPENAI_LIKE:
        encoding = arguments.pop("encoding_format", None)
    return Call(litellm.aembedding, arguments, streams=False, in_base64=encoding == "base64")


def _function(litellm: Any, path: str, manner: Manner) -> Callable[..., Awaitable[object]]:
    found: Callable[..., Awaitable[object]]
    match path:
        case "/chat/completions":
            found = litellm.acompletion
        case "/completions":
            found = litellm.atext_completion
        case "/responses":
            found = litellm.aresponses
        case "/messages":
            found = litellm.anthropic.messages.acreate
        case _:
            found = counter(litellm, manner.provider)
    return found


def _decoded(body: bytes) -> Fields:
    try:
        return msgspec.json.decode(body, type=Fields)
    except (msgspec.DecodeError, RecursionError) as error:
        raise Refusal(400, f"the request is not understood: {error}") from error


def _passed(litellm: Any, fields: Fields, path: str, manner: Manner) -> Fields:
    """The app's fields, those that may be passed. Raises Refusal for those that may not and are not to be dropped."""
    known = PATHS.get(path, SEARCH)
    passed = {name: value for name, value in fields.items() if name in known and value is not None}
    rest = {
        name: value
        for name, value in fields.items()
        if name not in known and name not in {"model", "simulate"}
    }
    if path not in {"/chat/completions", "/completions", "/embeddings"}:
        _refuse(rest, path, manner)
        return passed
    if manner.provider in OPENAI_LIKE or manner.provider in litellm.openai_compatible_providers:
        return passed | ({"extra_body": rest} if rest else {})
    common = {name: rest.pop(name) for name in COMMON & rest.keys()}
    rest.pop("metadata", None)  # a note for OpenAI's own records; nobody else has a place for it
    _refuse(rest, path, manner)
    return passed | common


def _refuse(rest: Fields, path: str, manner: Manner) -> None:
    if rest and not manner.drops:
        name = min(rest)
        raise Refusal(
            400,
            f"the field {name!r} of {path} cannot be translated for {manner.provider}; leave it out, or have the"
            " upstream drop such fields (params: {drop_params: true})",
            param=name,
            code="unsupported_parameter",
        )


def _timeout(manner: Manner, seconds: float) -> object:
    whole = next((step for step in TIMEOUTS if step >= seconds), TIMEOUTS[-1])
    return importlib.import_module("httpx").Timeout(whole, connect=min(whole, manner.connect_seconds))


def counter(litellm: Any, provider: str) -> Callable[..., Awaitable[object]]:
    """What counts the tokens of a request in Anthropic's format, by the provider where it can, else by a tokenizer here."""

    async def count(**arguments: Any) -> object:
        given = {name: arguments.get(name) for name in ("model", "messages", "tools", "api_key", "api_base")}
        system = _text_of(arguments.get("system"))
        if provider in COUNTING:
            told = await litellm.acount_tokens(**given, system=system or None)
            return {"input_tokens": told.total_tokens}
        messages = [{"role": "system", "content": system}] if system else []
        messages += arguments.get("messages") or []
        tools = [_openai_tool(tool) for tool in arguments.get("tools") or ()]
        counted = await asyncio.to_thread(
            litellm.token_counter, model=given["model"], messages=messages, tools=tools or None
        )
        return {"input_tokens": counted}

    return count


def _text_of(system: object) -> str:
    """The text of a `system`, be it a string or a list of blocks."""
    if isinstance(system, list):
        return "\n".join(str(block.get("text", "")) for block in system if isinstance(block, dict))
    return str(system or "")


def _openai_tool(tool: Fields) -> Fields:
    schema = tool.get("input_schema") or {}
    function = {
        "name": tool.get("name", ""),
        "description": tool.get("description", ""),
        "parameters": schema,
    }
    return {"type": "function", "function": function}
