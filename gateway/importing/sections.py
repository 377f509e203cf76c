"""What becomes of the settings of a LiteLLM file that are about no single model, and what to do about each.

Words, mostly: most of it has another place here, or none. Knows no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from flags.model import Json
from gateway.importing.report import Notes, kind_of
from gateway.importing.versions import Defaults

SECTIONS = ("router_settings", "litellm_settings", "general_settings")
_NOTHING = "this gateway has nothing that does it"
_REDIS = ("the store is named when the gateway starts", "pointsman serve --redis URL, or REDIS_URL")
_TELEMETRY = (
    "metrics stand at /metrics, traces go by OTLP", "set the standard OTEL_* variables; callbacks of vendors are not called"
)  # fmt: skip
_BREAKER = ("breakers hold for each route and target by themselves", "pointsman breakers shows them")
_OTHER_FALLBACK = (
    "a fallback here is asked after any failure that may be tried again", "add it to the version's fallbacks"
)  # fmt: skip
_RETRY = ("what may be tried again is decided by the failure itself", "the version's retries say how often")
# By the setting's name, what to say and to do; the names are the same in every section.
_TOLD: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        **dict.fromkeys(("redis_host", "redis_port", "redis_password", "redis_url", "redis_db"), _REDIS),
        **dict.fromkeys(
            ("callbacks", "success_callback", "failure_callback", "service_callbacks"), _TELEMETRY
        ),
        **dict.fromkeys(
            ("allowed_fails", "cooldown_time", "allowed_fails_policy", "disable_cooldowns"), _BREAKER
        ),
        **dict.fromkeys(("context_window_fallbacks", "content_policy_fallbacks"), _OTHER_FALLBACK),
        **dict.fromkeys(("retry_policy", "model_group_retry_policy", "retry_after"), _RETRY),
        "drop_params": ("parameters go to the provider as they are", "leave out what it refuses"),
        "master_key": ("keys are made by the gateway, and stored hashed", "pointsman keys create NAME"),
        "database_url": ("no database is needed: state is in Redis, or in the embedded store", None),
        "set_verbose": ("the gateway's log says what an operator needs", None),
        "json_logs": ("the gateway's log is its own", None),
        "telemetry": ("nothing is sent home", None),
        "background_health_checks": ("breakers see failures in the traffic itself", None),
    }
)
_WHOLE: Mapping[str, tuple[str, str | None]] = MappingProxyType(
    {
        "environment_variables": (
            "a file declares no environment, and secrets are not copied",
            "set these variables in the environment of `pointsman serve`",
        ),
        "guardrails": (_NOTHING, "keep them in the app, or before the gateway"),
        "mcp_servers": (_NOTHING, "let the app ask them itself"),
        "mcp_tools": (_NOTHING, "let the app ask them itself"),
        "vector_store_registry": (
            "a store is an index flag, and how it is searched a retriever flag",
            "declare flags with layer: index and layer: retriever, and name them in a route",
        ),
        "prompts": (
            "a prompt is a version of a prompt flag",
            "declare a flag <route>.prompt with layer: prompt, its messages as variants",
        ),
        "include": ("other files are not read", "import each of them"),
        "files_settings": ("files are relayed to the upstream of the route that the request names", None),
        "finetune_settings": (_NOTHING, None),
        "callback_settings": _TELEMETRY,
    }
)
_STRATEGIES: Mapping[str, str] = MappingProxyType(
    {"simple-shuffle": "weighted", "latency-based-routing": "latency"}
)


def defaults(document: Mapping[str, Json], notes: Notes) -> Defaults:
    """What the settings say of every model; the router's word counts before the library's."""
    router, library = section(document, "router_settings"), section(document, "litellm_settings")
    retries = _first(
        notes, (router, "router_settings", "num_retries"), (library, "litellm_settings", "num_retries"), 10
    )
    total = _first(
        notes,
        (router, "router_settings", "timeout"),
        (library, "litellm_settings", "request_timeout"),
        86_400,
    )
    first = _first(notes, (router, "router_settings", "stream_timeout"), ({}, "", ""), 86_400)
    return Defaults(
        None if retries is None else int(retries),
        total,
        first,
        "latency" if _latency(router, notes) else "weighted",
    )


def section(document: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    """One section; an empty one where there is none."""
    found = document.get(name)
    return found if isinstance(found, Mapping) else {}


def _first(
    notes: Notes,
    one: tuple[Mapping[str, Json], str, str],
    other: tuple[Mapping[str, Json], str, str],
    most: float,
) -> float | None:
    for fields, place, name in (one, other):
        if fields.get(name) is not None:
            number = notes.number(
                f"{place}.{name}", fields[name], 0.0 if name == "num_retries" else 0.001, most
            )
            if number is not None:
                notes.taken(f"{place}.{name}", "in every version that does not say otherwise")
                return number
    return None


def _latency(router: Mapping[str, Json], notes: Notes) -> bool:
    named = router.get("routing_strategy")
    if named is None:
        return False
    balance = _STRATEGIES.get(named) if isinstance(named, str) else None
    if balance is None:
        message = "balance: weighted; this strategy is none of weighted and latency"
        notes.changed("router_settings.routing_strategy", message)
    else:
        notes.taken("router_settings.routing_strategy", f"balance: {balance}")
    return balance == "latency"


def kept_alive(document: Mapping[str, Json], notes: Notes) -> dict[str, Json]:
    """A route's `keep_alive_seconds`, where the file says how often a silent stream is to show a sign of life."""
    name = "sse_keepalive_ping_interval_seconds"
    for place in ("litellm_settings", "general_settings"):
        fields = section(document, place)
        if fields.get(name) is not None:
            seconds = notes.number(f"{place}.{name}", fields[name], 0, 600)
            if seconds is not None:
                notes.taken(f"{place}.{name}", "keep_alive_seconds of every route")
                return {"keep_alive_seconds": seconds}
    return {}


def cached(document: Mapping[str, Json], notes: Notes) -> dict[str, Json]:
    """A route's `cache`, where answers are cached with a time to live and by exact match."""
    library = section(document, "litellm_settings")
    if library.get("cache") is not True:
        return {}
    params = section(library, "cache_params")
    kind, path = params.get("type", "redis"), "litellm_settings.cache"
    if kind not in ("redis", "local", "redis-cluster") or params.get("ttl") is None:
        message = "answers are cached by exact match, for a time that must be given"
        notes.left(path, message, "add cache: {seconds: 600} to the routes where that is right")
        return {}
    seconds = notes.number("litellm_settings.cache_params.ttl", params["ttl"], 1, 2_592_000)
    if seconds is None:
        return {}
    notes.changed(
        path, "cache of every route: the same request gets the same answer while the same versions serve"
    )
    return {"cache": {"seconds": seconds}}


def tell_rest(document: Mapping[str, Json], notes: Notes, *, read: frozenset[str]) -> None:
    """Note every setting that nothing else has noted; `read` are the paths of those."""
    for name, value in document.items():
        if name == "model_list" or name in read:
            continue
        if name not in SECTIONS:
            notes.left(name, *_WHOLE.get(name, (_NOTHING, None)))
        elif isinstance(value, Mapping):
            for each in value:
                if f"{name}.{each}" not in read:
                    notes.left(f"{name}.{each}", *_TOLD.get(each, (_NOTHING, None)))
        elif value is not None:
            notes.left(name, f"expected a mapping, found {kind_of(value)}")
