"""The documents that people write: upstreams, routes, variants' content by layer. Shapes only, no behaviour.

msgspec checks them (`forbid_unknown_fields`) and makes their JSON Schema; every field is described
here once. CONTRACT §4 and §5.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from gateway.spec_base import Name, RouteName, Seconds, SecretRef, Spec, Target
from gateway.spec_flags import DecisionsSpec, OfrepSpec
from gateway.spec_rulebook import JudgeSpec, NotifySpec, PromotionSpec, RecordSpec, SignalSpec


class CallReply(Spec, frozen=True):
    """A tool that a simulated model wants to be called."""

    name: str
    arguments: dict[str, object] = {}


class PassageReply(Spec, frozen=True):
    """A passage that a simulated store finds."""

    text: str
    file_id: str = "file-simulated"
    filename: str = "simulated.txt"
    score: float = 1.0
    attributes: dict[str, str | float | bool] = {}


class Reply(Spec, frozen=True):
    """How a simulated upstream behaves for one call; every field may also be sent as `simulate` in the body.

    It holds on every wire, each answering in its own dialect: `text` is what a model says, or what was heard in
    an audio file; `chunks`, `chunk_delay_seconds` and `after_chunks` are of whatever streams.
    """

    text: str | None = None
    status: Annotated[int, Meta(ge=200, le=599)] = 200
    delay_seconds: Annotated[float, Meta(ge=0, le=600)] = 0.0
    chunk_delay_seconds: Annotated[float, Meta(ge=0, le=60)] = 0.0
    chunks: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    # The share of matching calls that fail with `status` (500 where it is 200), spread evenly and counted, not drawn.
    error_rate: Annotated[float, Meta(ge=0, le=1)] | None = None
    fault: Literal["hang", "cut", "garbage", "error_body", "empty", "refuse"] | None = None
    # `cut` and `hang` strike after this many content chunks.
    after_chunks: Annotated[int, Meta(ge=0)] = 0
    retry_after_seconds: float | None = None
    usage: bool = True
    # Called after the text; where there are some, no `text` means that nothing is said.
    tool_calls: list[CallReply] = []
    # What `system_fingerprint` says.
    fingerprint: str = "fp_simulated"
    # What a search finds, best first; where nothing is said, one passage made of the query.
    passages: list[PassageReply] | None = None
    # The length of embeddings where the request names none.
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] = 256


class Rule(Spec, frozen=True):
    """A simulated upstream's first rule that matches decides; `contains` is looked for in the whole request body.

    `path` is a wire's, without `/v1`: `/chat/completions`, `/embeddings`.
    """

    reply: Reply
    contains: str | None = None
    model: str | None = None
    path: str | None = None


class UpstreamSpec(Spec, frozen=True):
    """A provider endpoint, or a store's.

    `kind`: `openai` is whatever speaks OpenAI's dialect, `anthropic` whatever speaks Anthropic's, `litellm` any provider
    that this library knows (`provider` is its name there, `params` what it wants: a region, a project), `qdrant` a
    vector store for retrievers, `simulated` answers by itself, as `rules` and `reply` say. `base_url` of an `openai` one
    ends in `/v1` (or whatever comes before `/chat/completions`), of an `anthropic` one it is the host alone.
    `auth_header` is the header for the key where it is not the kind's own (`api-key` for Azure). `translate`: whether
    requests in the other family's dialect are translated; true loads what that takes before the worker is ready, false
    refuses them, and where nothing is said the first such request waits for it. `ca_file` is a PEM file with the
    authorities to trust instead of the system's.
    """

    kind: Literal["openai", "anthropic", "litellm", "qdrant", "simulated"]
    base_url: str | None = None
    api_key: SecretRef | None = None
    auth_header: str | None = None
    translate: bool | None = None
    headers: dict[str, str] = {}
    ca_file: str | None = None
    connect_seconds: Seconds = 5.0
    max_connections: Annotated[int, Meta(ge=1, le=100_000)] = 1024
    provider: str | None = None
    params: dict[str, object] = {}
    rules: list[Rule] = []
    reply: Reply | None = None


class CacheSpec(Spec, frozen=True):
    """Answers kept in Redis for requests that are exactly alike and get the same versions; larger ones than `max_bytes` not."""

    seconds: Annotated[float, Meta(ge=1, le=2_592_000, description="seconds")]
    max_bytes: Annotated[int, Meta(ge=1, le=8_388_608)] = 262_144


class RouteSpec(Spec, frozen=True):
    """Which flags a route's layers use; a layer not named is found as `<route>.<layer>`, where that flag exists.

    `sticky` says who keeps a version during a rollout. A stream that is silent for `keep_alive_seconds` carries a comment,
    so that what stands between does not hang up; 0: never.
    """

    pipeline: Name | None = None
    prompt: Name | None = None
    retriever: Name | None = None
    index: Name | None = None
    model: Name | None = None
    sticky: Literal["user", "api_key"] = "user"
    cache: CacheSpec | None = None
    judge: JudgeSpec | None = None
    decisions: DecisionsSpec | None = None
    keep_alive_seconds: Annotated[float, Meta(ge=0, le=600, description="seconds")] = 15.0
    description: str | None = None


class Price(Spec, frozen=True):
    """USD for a million tokens."""

    input_per_million: Annotated[float, Meta(ge=0)]
    output_per_million: Annotated[float, Meta(ge=0)]
    cached_input_per_million: Annotated[float, Meta(ge=0)] | None = None


class WeightedTarget(Spec, frozen=True):
    """One of a model version's equal targets, and its share of the requests."""

    upstream: Name
    model: str
    weight: Annotated[float, Meta(gt=0, le=1_000_000)] = 1.0


class ModelContent(Spec, frozen=True):
    """A version of the model layer.

    `targets` serve beside the version's own upstream and model, which has the share `weight`. `balance` says who of
    these equals is asked first: `weighted` draws by weight, `latency` takes the one whose first content came soonest
    lately in this worker (one that is unknown or long unseen is asked now and then). What fails goes on to the other
    equals, without a pause; then `retries` more times through the equals in the same order, with pauses; then to the
    `fallbacks`. `price` is of the version's own model: the others' are the table's. An app may lower the whole number
    of attempts, and `total_seconds`, by headers.

    `timeout_seconds` holds to first content and between chunks. Where it is not given, a stream gets 60 s,
    and a whole answer, whose first content is its end, gets `total_seconds`.
    """

    upstream: Name
    model: str
    params: dict[str, object] = {}
    locked: list[str] = []
    timeout_seconds: Seconds | None = None
    total_seconds: Seconds = 600.0
    retries: Annotated[int, Meta(ge=0, le=10)] = 0
    weight: Annotated[float, Meta(gt=0, le=1_000_000)] = 1.0
    targets: list[WeightedTarget] = []
    balance: Literal["weighted", "latency"] = "weighted"
    fallbacks: list[Target] = []
    price: Price | None = None


class Message(Spec, frozen=True):
    """One message of a prompt. `content` is a template over the variables, `question` and `passages`."""

    role: Literal["system", "developer", "user", "assistant"]
    content: str
    name: str | None = None


class PromptContent(Spec, frozen=True):
    """A version of the prompt layer: its messages come before the app's, which stay untouched."""

    messages: list[Message]
    variables: dict[str, object] = {}
    tools: list[object] | None = None
    response_format: dict[str, object] | None = None
    card: dict[str, object] | None = None


class RetrieverContent(Spec, frozen=True):
    """A version of the retriever layer: how passages are found in the index that is served.

    `top_k` is how many passages at most, those under `score_threshold` left out. `on_error: skip` answers without passages
    where the store fails or takes longer than `timeout_seconds`. `query` is a template over the variables and `question`,
    which is the query where there is none. `embedding` makes the query's vector for a store that wants one. `mode` is
    for stores that can search by words, by vectors, or both. For Qdrant: `text_field` is the payload's field with a
    passage's text, `vector` the vector's name where there are several.
    """

    kind: Literal["openai", "qdrant", "litellm", "embedded"]
    top_k: Annotated[int, Meta(ge=1, le=50)]
    timeout_seconds: Seconds
    on_error: Literal["fail", "skip"]
    upstream: Name | None = None
    score_threshold: float | None = None
    filters: dict[str, object] | None = None
    query: str | None = None
    embedding: Target | None = None
    mode: Literal["text", "vector", "hybrid"] | None = None
    text_field: str = "text"
    vector: str | None = None


class IndexContent(Spec, frozen=True):
    """A version of the index layer: a store's id (OpenAI, litellm), a collection (Qdrant), or an embedded index's name.

    What is said of `embedding_model`, `dimensions` and `documents` is checked against the store when a flag may point here.
    """

    store: Annotated[str, Meta(min_length=1, max_length=512)]
    embedding_model: str | None = None
    dimensions: Annotated[int, Meta(ge=1, le=65_536)] | None = None
    documents: Annotated[int, Meta(ge=0)] | None = None


class PipelineContent(Spec, frozen=True):
    """A version of the pipeline layer: which version of other layers it pins, and parameters for the model."""

    pins: dict[Literal["prompt", "model", "retriever", "index"], Name]
    params: dict[str, object] = {}


class ShadowSpec(Spec, frozen=True):
    """A version that is sent a copy of a share of the requests; nobody sees its answers."""

    variant: Name
    percent: Annotated[float, Meta(ge=0, le=100)]


class RolloutSpec(Spec, frozen=True):
    """A candidate and its share of users when the flag is first created: `percent`, or `steps` for automation."""

    variant: Name
    percent: Annotated[float, Meta(ge=0, le=100)] | None = None
    steps: (
        Annotated[list[Annotated[float, Meta(gt=0, le=100)]], Meta(min_length=1, max_length=100)] | None
    ) = None
    hold_seconds: Annotated[float, Meta(ge=0, le=31_536_000, description="seconds")] | None = None
    min_requests: Annotated[int, Meta(ge=0)] | None = None


class SoakSpec(Spec, frozen=True):
    """How long a variant serves all traffic, and how many judged requests, before automation makes it safe."""

    seconds: Annotated[float, Meta(ge=0, le=31_536_000, description="seconds")] = 86_400.0
    requests: Annotated[int, Meta(ge=0)] = 1_000


class FlagSpec(Spec, frozen=True):
    """A flag as a file declares it. `serve`, `safe`, `rollout` and `withdrawn` hold for its creation only."""

    # A layer's content, any JSON of one type for a plain flag, or {file: path}.
    variants: Annotated[dict[Name, object], Meta(min_length=1)]
    # What is told of them, beside their content.
    records: dict[Name, RecordSpec] = {}
    layer: Literal["pipeline", "prompt", "retriever", "index", "model"] | None = None
    serve: Name | msgspec.UnsetType | None = msgspec.UNSET
    safe: Name | None = None
    rollout: RolloutSpec | None = None
    shadow: ShadowSpec | None = None
    withdrawn: list[Name] = []
    state: Literal["ENABLED", "DISABLED"] = "ENABLED"
    targeting: dict[str, object] | None = None
    metadata: dict[str, bool | int | float | str] = {}
    promotion: PromotionSpec | None = None
    soak: SoakSpec | None = None
    # How a flagd file spelled it, so that an export gives it back so; it changes no answer.
    flagd: dict[str, object] | None = None


class MetricSpec(Spec, frozen=True):
    """A score that feedback brings. A number lies in `range` ([0, 1] unless given); a boolean one is 0 or 1."""

    type: Literal["boolean", "number"]
    better: Literal["higher", "lower"]
    range: tuple[float, float] | None = None
    description: str | None = None


class PolicySpec(Spec, frozen=True):
    """A metric with a bound, and what to do when it is passed.

    `limit` is absolute, in the metric's own unit (a share of requests, seconds at `quantile`, USD a request, the worst
    mean score that is still good); `times_safe` is relative to the version that is safe. `layer` goes back where no
    rollout tells whose fault it is. `window_seconds` and `min_count` belong to the method `threshold`, `alpha` to
    `evidence`. Where a metric has no policy of its own the strategy that ships holds.
    """

    metric: Name
    limit: float | None = None
    times_safe: Annotated[float, Meta(gt=0)] | None = None
    quantile: Annotated[float, Meta(gt=0, lt=1)] | None = None
    action: Literal["rollback", "pause", "alert"] = "rollback"
    layer: Literal["pipeline", "prompt", "retriever", "index", "model"] | None = None
    routes: list[RouteName] | None = None
    method: Literal["evidence", "threshold"] = "evidence"
    window_seconds: Seconds | None = None
    min_count: Annotated[int, Meta(ge=1)] | None = None
    alpha: Annotated[float, Meta(gt=0, lt=1)] = 0.01
    cooldown_seconds: Annotated[float, Meta(ge=0, le=604_800)] | None = None
    # Of the metric `signal`: the signal source, and the name of the signals (an Alertmanager's alertname, a CloudEvent's type).
    source: Name | None = None
    named: str | None = None
    dry_run: bool = False


class KeysSpec(Spec, frozen=True):
    """Where the apps' keys and operators' tokens lie; a path relative to the config file."""

    file: str


class ConfigSpec(Spec, frozen=True):
    """The whole config file."""

    upstreams: dict[Name, UpstreamSpec] = {}
    flags: dict[Name, FlagSpec] = {}
    # JSONLogic rules that targeting names by {"$ref": name}.
    evaluators: dict[str, dict[str, object]] = {}
    routes: dict[RouteName, RouteSpec | None] = {}
    metrics: dict[Name, MetricSpec] = {}
    policies: dict[Name, PolicySpec] = {}
    notify: dict[Name, NotifySpec] = {}
    signals: dict[Name, SignalSpec] = {}
    keys: KeysSpec | None = None
    ofrep: OfrepSpec = OfrepSpec()
