"""The names by which telemetry is told: OpenTelemetry's semantic conventions, in one table. Knows no SDK and no request.

Sources: HTTP, errors, server and feature flags of semantic conventions 1.42; generative AI as of the same release (its own
repository since, status "development": a rename there is a change of this file alone). Names under `pointsman.` are ours.
Left out on purpose: flag values, evaluation contexts and whatever names a person; prompts and answers unless the switch
`gateway.content-logging` is on.
"""

from __future__ import annotations

from typing import Final, NamedTuple


class Instrument(NamedTuple):
    """A histogram: its name, unit (UCUM), what it tells, and the bounds that the conventions advise."""

    name: str
    unit: str
    description: str
    bounds: tuple[float, ...]


# Resource
SERVICE_NAME: Final = "service.name"
SERVICE_VERSION: Final = "service.version"
SERVICE_INSTANCE_ID: Final = "service.instance.id"

# Generative AI
OPERATION: Final = "gen_ai.operation.name"
PROVIDER: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
REQUEST_STREAM: Final = "gen_ai.request.stream"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
CACHED_TOKENS: Final = "gen_ai.usage.cache_read.input_tokens"
REASONING_TOKENS: Final = "gen_ai.usage.reasoning.output_tokens"
# The conventions' opt-in: what was said, JSON.
INPUT_MESSAGES: Final = "gen_ai.input.messages"
OUTPUT_MESSAGES: Final = "gen_ai.output.messages"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105  # input or output

# HTTP, errors, servers
METHOD: Final = "http.request.method"
STATUS: Final = "http.response.status_code"
ERROR_TYPE: Final = "error.type"
SERVER_ADDRESS: Final = "server.address"
SERVER_PORT: Final = "server.port"

# Feature flags: one event for each evaluation, on the request's span.
EVALUATION: Final = "feature_flag.evaluation"
FLAG_KEY: Final = "feature_flag.key"
FLAG_PROVIDER: Final = "feature_flag.provider.name"
FLAG_SET: Final = "feature_flag.set.id"
FLAG_VARIANT: Final = "feature_flag.result.variant"
# In lower case, as the conventions have OpenFeature's reasons.
FLAG_REASON: Final = "feature_flag.result.reason"
# Of the rule set: our revision.
FLAG_VERSION: Final = "feature_flag.version"

# Ours
POINTSMAN: Final = "pointsman"
REQUEST_ID: Final = "pointsman.request_id"
ENDING: Final = "pointsman.ending"
BLAME: Final = "pointsman.blame"
ATTEMPTS: Final = "pointsman.attempts"
SHIELDED: Final = "pointsman.shielded"
COST: Final = "pointsman.cost_usd"
UPSTREAM: Final = "pointsman.upstream"
# `pointsman.version.prompt` = v7
VERSION: Final = "pointsman.version."

SECONDS: Final = (
    0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92,
)  # fmt: skip
FIRST_SECONDS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
)  # fmt: skip
TOKENS: Final = tuple(float(4**power) for power in range(14))

# One call of an upstream, as its client sees it.
CLIENT_DURATION: Final = Instrument(
    "gen_ai.client.operation.duration", "s", "Duration of one call of an upstream", SECONDS
)
CLIENT_FIRST_CHUNK: Final = Instrument(
    "gen_ai.client.operation.time_to_first_chunk",
    "s",
    "From the call to its stream's first chunk",
    FIRST_SECONDS,
)
CLIENT_TOKENS: Final = Instrument(
    "gen_ai.client.token.usage", "{token}", "Tokens of one answer, by gen_ai.token.type", TOKENS
)
# One request of an app, retries and fallbacks included: its model is the route.
SERVER_DURATION: Final = Instrument(
    "gen_ai.server.request.duration", "s", "Duration of one request of an app", SECONDS
)
SERVER_FIRST_TOKEN: Final = Instrument(
    "gen_ai.server.time_to_first_token", "s", "From a request's arrival to its first content", FIRST_SECONDS
)

# The well-known providers by the end of their host's name; any other upstream is called by its kind, which tells
# whose dialect it speaks.
PROVIDERS: Final = (
    (".openai.azure.com", "azure.ai.openai"),
    ("api.openai.com", "openai"),
    ("api.anthropic.com", "anthropic"),
    ("api.cohere.com", "cohere"),
    ("api.deepseek.com", "deepseek"),
    ("api.groq.com", "groq"),
    ("api.mistral.ai", "mistral_ai"),
    ("api.moonshot.ai", "moonshot_ai"),
    ("api.perplexity.ai", "perplexity"),
    ("api.x.ai", "x_ai"),
    ("generativelanguage.googleapis.com", "gcp.gemini"),
    ("aiplatform.googleapis.com", "gcp.vertex_ai"),
)


def provider_name(kind: str, host: str) -> str:
    """The convention's name of the provider behind `host`, else the upstream's kind."""
    return next((name for end, name in PROVIDERS if host.endswith(end)), kind)
