"""What an answer costs: the prices of models, per token. Knows no request; reads one file, once, when told to.

A version's own price counts first, then the table that the `litellm` package ships (read as a file; importing the
package would take seconds and 200 MB). Where neither knows, the cost is unknown, which is not zero. What the provider
itself says a request has cost counts more than any of this, and is looked at where the outcome is made.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import TypeAlias
from urllib.parse import urlsplit

import msgspec

from flags.model import NOTHING, Kind
from flags.snapshot import Snapshot
from gateway.spec import Price
from policies.outcome import CostSource

log = logging.getLogger("pointsman.price")

TABLE = "model_prices_and_context_window_backup.json"
PER_MILLION = 1e-6

# Whose prices hold at an address; providers are called as the table calls them.
PROVIDERS = MappingProxyType(
    {
        "ai-gateway.vercel.sh": "vercel_ai_gateway",
        "api.anthropic.com": "anthropic",
        "api.cerebras.ai": "cerebras",
        "api.deepinfra.com": "deepinfra",
        "api.deepseek.com": "deepseek",
        "api.fireworks.ai": "fireworks_ai",
        "api.groq.com": "groq",
        "api.hyperbolic.xyz": "hyperbolic",
        "api.lambda.ai": "lambda_ai",
        "api.minimax.io": "minimax",
        "api.mistral.ai": "mistral",
        "api.moonshot.ai": "moonshot",
        "api.moonshot.cn": "moonshot",
        "api.novita.ai": "novita",
        "api.openai.com": "openai",
        "api.perplexity.ai": "perplexity",
        "api.sambanova.ai": "sambanova",
        "api.together.ai": "together_ai",
        "api.together.xyz": "together_ai",
        "api.x.ai": "xai",
        "api.z.ai": "zai",
        "codestral.mistral.ai": "codestral",
        "generativelanguage.googleapis.com": "gemini",
        "integrate.api.nvidia.com": "nvidia_nim",
        "openrouter.ai": "openrouter",
    }
)
AZURE = ".openai.azure.com"


class Rate(msgspec.Struct, frozen=True, gc=False):
    """USD for one token.

    `cached` is for prompt tokens from the provider's cache, `written` for those put into it, `reasoning` for those that
    nobody sees; None: like the others. A prompt of more than `above` tokens is paid by `beyond`, all of it.
    """

    input: float
    output: float
    source: CostSource
    cached: float | None = None
    reasoning: float | None = None
    above: int = 0
    beyond: Rate | None = None
    written: float | None = None

    def cost(
        self,
        input_tokens: int | None,
        output_tokens: int | None,
        cached: int | None,
        reasoning: int | None,
        written: int | None = None,
    ) -> float | None:
        """USD for one answer; None where the provider told no tokens. The counts include all special ones."""
        if input_tokens is None or (output_tokens is None and self.output):
            return None
        if self.beyond is not None and input_tokens > self.above:
            return self.beyond.cost(input_tokens, output_tokens, cached, reasoning, written)
        usd = input_tokens * self.input + (output_tokens or 0) * self.output
        if cached and self.cached is not None:
            usd -= min(cached, input_tokens) * (self.input - self.cached)
        if written and self.written is not None:
            usd += min(written, input_tokens) * (self.written - self.input)
        if reasoning and output_tokens and self.reasoning is not None:
            usd += min(reasoning, output_tokens) * (self.reasoning - self.output)
        return usd


class Entry(msgspec.Struct, frozen=True, gc=False):
    """What is read of one model in the table; all else there (batches, images, seconds) is not for us."""

    input_cost_per_token: float | None = None
    output_cost_per_token: float | None = None
    cache_read_input_token_cost: float | None = None
    cache_creation_input_token_cost: float | None = None
    output_cost_per_reasoning_token: float | None = None
    input_cost_per_token_above_128k_tokens: float | None = None
    output_cost_per_token_above_128k_tokens: float | None = None
    input_cost_per_token_above_200k_tokens: float | None = None
    output_cost_per_token_above_200k_tokens: float | None = None
    cache_read_input_token_cost_above_200k_tokens: float | None = None
    input_cost_per_token_above_272k_tokens: float | None = None
    output_cost_per_token_above_272k_tokens: float | None = None
    cache_read_input_token_cost_above_272k_tokens: float | None = None

    def rate(self) -> Rate | None:
        """The entry as a Rate. None where it has no price by token: zeros stand there for "billed otherwise"."""
        if self.input_cost_per_token is None or not (self.input_cost_per_token or self.output_cost_per_token):
            return None
        beyond: Rate | None = None
        above = 0
        for tokens, given, made, kept in self._steps():
            if given is not None and made is not None:
                beyond = Rate(given, made, CostSource.TABLE, kept, None, above, beyond)
                above = tokens
        return Rate(
            self.input_cost_per_token,
            self.output_cost_per_token or 0.0,
            CostSource.TABLE,
            self.cache_read_input_token_cost,
            self.output_cost_per_reasoning_token,
            above,
            beyond,
            self.cache_creation_input_token_cost,
        )

    def _steps(self) -> tuple[tuple[int, float | None, float | None, float | None], ...]:
        """What long prompts cost, the longest first: from how many tokens, and the prices of in, out and cached."""
        return (
            (
                272_000,
                self.input_cost_per_token_above_272k_tokens,
                self.output_cost_per_token_above_272k_tokens,
                self.cache_read_input_token_cost_above_272k_tokens,
            ),
            (
                200_000,
                self.input_cost_per_token_above_200k_tokens,
                self.output_cost_per_token_above_200k_tokens,
                self.cache_read_input_token_cost_above_200k_tokens,
            ),
            (
                128_000,
                self.input_cost_per_token_above_128k_tokens,
                self.output_cost_per_token_above_128k_tokens,
                None,
            ),
        )


class Prices:
    """The table: what models cost at their providers. Immutable once it is made."""

    __slots__ = ("_rates",)

    def __init__(self, rates: Mapping[str, Rate] | None = None) -> None:
        self._rates = rates or {}

    def __repr__(self) -> str:
        return f"<Prices of {len(self._rates)} models>"

    def __len__(self) -> int:
        return len(self._rates)

    def rate(self, provider: str | None, model: str) -> Rate | None:
        """The price of `model` as its provider has it, else of the model by its name alone; None: unknown."""
        name = model.removeprefix("models/")
        found = self._rates.get(f"{provider}/{name}") if provider else None
        return found or self._rates.get(name)


def config_rate(price: Price) -> Rate:
    """A version's own price, as its content has it."""
    cached = price.cached_input_per_million
    return Rate(
        price.input_per_million * PER_MILLION,
        price.output_per_million * PER_MILLION,
        CostSource.CONFIG,
        None if cached is None else cached * PER_MILLION,
    )


class Place(msgspec.Struct, frozen=True, gc=False):
    """Of an upstream's declaration, what tells whose prices hold there."""

    kind: str = ""
    provider: str | None = None
    base_url: str | None = None

    @property
    def vendor(self) -> str | None:
        """As the table calls it; None where the address tells nobody that the table knows."""
        if self.kind == "litellm":
            return self.provider
        if self.kind == "anthropic" and self.base_url is None:
            return "anthropic"
        try:
            host = urlsplit(self.base_url or "").hostname or ""
        except ValueError:
            return None
        return "azure" if host.endswith(AZURE) else PROVIDERS.get(host)


# The price of the model that is named; None: unknown.
Rates: TypeAlias = Callable[[str], Rate | None]


class Tariff:
    """What models cost at the upstreams that one snapshot declares."""

    __slots__ = ("_prices", "_snapshot")

    def __init__(self, prices: Prices, snapshot: Snapshot) -> None:
        self._prices, self._snapshot = prices, snapshot

    def __repr__(self) -> str:
        return f"<Tariff of {self._prices!r} at revision {self._snapshot.revision}>"

    def rate(self, upstream: str, model: str) -> Rate | None:
        """The price of `model` at `upstream` by the table; None: unknown."""
        return self.rates(upstream)(model)

    def rates(self, upstream: str) -> Rates:
        """The prices of all models at `upstream`; it holds no snapshot, so it may be kept."""
        stored = self._snapshot.of_kind(Kind.UPSTREAM).get(upstream)
        declared = stored.document.get("spec", NOTHING) if stored else NOTHING
        try:
            place = msgspec.convert(declared, Place)
        except msgspec.ValidationError:
            place = Place()  # an upstream that cannot be read is told of where it is used
        return partial(self._prices.rate, place.vendor)


def table_path() -> Path | None:
    """Where the table lies; None without the package. Finding a package does not import it."""
    try:
        found = find_spec("litellm")
    except (ImportError, ValueError):
        return None
    return Path(found.origin).with_name(TABLE) if found and found.origin else None


def load_prices(path: Path | None) -> Prices:
    """The table at `path` (some 20 ms: to be called once for each process, in a thread).

    Absent or unreadable: no prices, said once in the log. An entry that is odd is left out, alone.
    """
    try:
        if path is None:
            raise FileNotFoundError("the litellm package is not installed")
        entries = msgspec.json.decode(path.read_bytes(), type=dict[str, msgspec.Raw])
    except (OSError, msgspec.DecodeError) as error:
        log.warning(
            "no price table: %s; the cost of models without a price of their own stays unknown", error
        )
        return Prices()
    decode = msgspec.json.Decoder(Entry).decode
    rates: dict[str, Rate] = {}
    for name, raw in entries.items():
        try:
            rate = decode(raw).rate()
        except msgspec.DecodeError:
            continue
        if rate is not None:
            rates[name] = rate
    return Prices(rates)
