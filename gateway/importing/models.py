"""LiteLLM's `model_list` becomes deployments: whose model, asked where, with which parameters. Knows no route."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from flags.errors import Invalid
from flags.model import Json
from gateway.content import OURS
from gateway.importing.providers import provider_of
from gateway.importing.report import Malformed, kind_of
from gateway.importing.secrets import ENVIRON, holds_secret, is_secret
from gateway.importing.upstreams import Upstreams, connects

# The largest list seen in the wild has some hundreds.
MAX_ENTRIES = 2_000
# What a provider is sent with each request, unless the app sends it: the parameters of OpenAI's and Anthropic's APIs,
# and those that servers of open models add to them.
_SENT = frozenset(
    {
        "audio", "dimensions", "encoding_format", "frequency_penalty", "logit_bias", "logprobs", "max_completion_tokens",
        "max_output_tokens", "max_tokens", "metadata", "min_p", "modalities", "n", "parallel_tool_calls", "prediction",
        "presence_penalty", "prompt_cache_key", "reasoning", "reasoning_effort", "repetition_penalty", "response_format",
        "seed", "service_tier", "stop", "store", "temperature", "thinking", "tool_choice", "tools", "top_k",
        "top_logprobs", "top_p", "user", "verbosity",
    }
)  # fmt: skip
_PRICES: Mapping[str, str] = MappingProxyType(
    {
        "input_cost_per_token": "input_per_million",
        "output_cost_per_token": "output_per_million",
        "cache_read_input_token_cost": "cached_input_per_million",
    }
)
# By what LiteLLM's shuffle weighs deployments: the first that is given.
SHARES = ("weight", "rpm", "tpm")
# A request may take a day at most; a share a million; ten retries.
_BOUNDS: Mapping[str, tuple[float, float]] = MappingProxyType(
    {
        "timeout": (0.001, 86_400.0), "stream_timeout": (0.001, 86_400.0), "num_retries": (0, 10),
        "max_retries": (0, 10), "weight": (0, 1e6), "rpm": (1, 1e6), "tpm": (1, 1e6), "order": (0, 1e6),
        **dict.fromkeys(_PRICES, (0.0, 1e6)),
    }
)  # fmt: skip
_BECOMES: Mapping[str, str] = MappingProxyType(
    {
        "timeout": "total_seconds", "stream_timeout": "timeout_seconds", "num_retries": "retries",
        "max_retries": "retries",
    }
)  # fmt: skip
_WHOSE = frozenset({"model", "custom_llm_provider", "litellm_credential_name"})


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry of the list. `figures` are its numbers by LiteLLM's names, those that could be read."""

    path: str
    name: str
    upstream: str
    model: str
    params: Mapping[str, Json]
    figures: Mapping[str, float]
    # Where its prices stand.
    prices: tuple[str, ...] = ()

    @property
    def target(self) -> dict[str, Json]:
        """It as a fallback."""
        return {"upstream": self.upstream, "model": self.model}

    @property
    def share(self) -> tuple[str, float] | None:
        """By which of SHARES it is weighed, and how much."""
        return next(((name, self.figures[name]) for name in SHARES if name in self.figures), None)

    @property
    def price(self) -> dict[str, Json] | None:
        """USD for a million tokens; None where input's or output's is not told."""
        found: dict[str, Json] = {
            ours: float(f"{self.figures[name] * 1e6:.9g}")
            for name, ours in _PRICES.items()
            if name in self.figures
        }
        return found if {"input_per_million", "output_per_million"} <= found.keys() else None


def deployments(
    listed: Json, credentials: Mapping[str, Mapping[str, Json]], upstreams: Upstreams
) -> list[Deployment]:
    """All entries that can be asked, the rest noted. Raises Malformed for a list that is none of LiteLLM's."""
    problems = list(_problems(listed))
    if problems:
        raise Malformed(tuple(problems))
    assert isinstance(listed, list)
    found = (
        _Entry(f"model_list[{i}]", entry, credentials, upstreams).read() for i, entry in enumerate(listed)
    )
    return [each for each in found if each is not None]


def _problems(listed: Json) -> list[Invalid]:
    if not isinstance(listed, list):
        return [Invalid("model_list", f"expected a list of models, found {kind_of(listed)}")]
    if len(listed) > MAX_ENTRIES:
        message = f"expected {MAX_ENTRIES} models at most, found {len(listed)}"
        return [Invalid("model_list", message, mend="import it in parts")]
    found = []
    for index, entry in enumerate(listed):
        path = f"model_list[{index}]"
        if not isinstance(entry, Mapping):
            found.append(Invalid(path, f"expected a mapping, found {kind_of(entry)}"))
            continue
        params = entry.get("litellm_params")
        if not isinstance(entry.get("model_name"), str) or not entry["model_name"]:
            message = f"expected a model's name, found {kind_of(entry.get('model_name'))}"
            found.append(Invalid(f"{path}.model_name", message, mend="write it in quotes"))
        if not isinstance(params, Mapping):
            found.append(Invalid(f"{path}.litellm_params", f"expected a mapping, found {kind_of(params)}"))
        elif not isinstance(params.get("model"), str) or not params["model"]:
            message = f"expected a model's name, found {kind_of(params.get('model'))}"
            found.append(Invalid(f"{path}.litellm_params.model", message, mend="write provider/model"))
    return found


class _Entry:
    """One entry, read piece by piece; shapes are right already."""

    def __init__(
        self,
        path: str,
        entry: Mapping[str, Json],
        credentials: Mapping[str, Mapping[str, Json]],
        upstreams: Upstreams,
    ) -> None:
        params = entry["litellm_params"]
        assert isinstance(params, Mapping)
        named = params.get("litellm_credential_name")
        self._path, self._entry, self._own = path, entry, params
        self._params = {**credentials.get(named if isinstance(named, str) else "", {}), **params}
        self._upstreams, self._notes = upstreams, upstreams.notes

    def read(self) -> Deployment | None:
        path, named = f"{self._path}.litellm_params", self._params.get("custom_llm_provider")
        model = str(self._params["model"])
        if model.startswith(ENVIRON):
            model = self._upstreams.environ(model.removeprefix(ENVIRON)) or ""
        connection = {name: value for name, value in self._params.items() if connects(name)}
        addressed = bool(connection.get("api_base") or connection.get("base_url"))
        whose = provider_of(model, named if isinstance(named, str) else None, addressed=addressed)
        if whose is None or not whose[1]:
            message = "nothing tells whose model this is, or which"
            self._notes.left(self._path, message, "write it as provider/model, and import again")
            return None
        provider, model = whose
        self._rest()
        figures = self._figures()
        sent = dict(self._sent())
        upstream = self._upstreams.of(path, provider, connection)
        for each in _WHOSE & self._own.keys():
            self._notes.taken(f"{path}.{each}", "the target's model and upstream")
        prices = tuple(
            f"{self._path}.{place}.{each}"
            for place in ("model_info", "litellm_params")
            for each in _PRICES
            if isinstance(fields := self._entry.get(place), Mapping) and each in fields and each in figures
        )
        name = str(self._entry["model_name"])
        return Deployment(self._path, name, upstream, model, sent, figures, prices)

    def _sent(self) -> list[tuple[str, Json]]:
        """What the provider is sent with each request."""
        found = []
        for name, value in self._own.items():
            path = f"{self._path}.litellm_params.{name}"
            if name == "extra_body" and isinstance(value, Mapping):
                found += [each for each in value.items() if self._takes(f"{path}.{each[0]}", *each)]
            elif name in _SENT and value is not None:
                found += [(name, value)] if self._takes(path, name, value) else []
            elif not (connects(name) or name in _BOUNDS or name in _WHOSE):
                mend = "if the provider shall be sent it, add it to the version's params"
                self._notes.left(path, "this gateway has nothing that does it", mend)
        return found

    def _takes(self, path: str, name: str, value: Json) -> bool:
        """Whether a parameter may be sent: not what the gateway writes itself, and nothing with a secret in it."""
        ours = name in OURS or (is_secret(name) and name not in _SENT)
        if ours or holds_secret(value):
            message = (
                "it is written by the gateway itself, or holds a secret in plain text, or a reference to one"
            )
            self._notes.left(path, message)
            return False
        if not self._notes.is_json(path, value):
            return False
        self._notes.taken(path, f"params.{name}")
        return True

    def _figures(self) -> dict[str, float]:
        found: dict[str, float] = {}
        info = self._entry.get("model_info")
        places = ((f"{self._path}.model_info", info), (f"{self._path}.litellm_params", self._own))
        for place, fields in places:
            for name, value in fields.items() if isinstance(fields, Mapping) else ():
                if name not in _BOUNDS or value is None or (fields is info and name not in _PRICES):
                    continue
                number = self._notes.number(f"{place}.{name}", self._known(value), *_BOUNDS[name])
                if number is not None:
                    found[name] = number
                    if name in _BECOMES:
                        self._notes.taken(f"{place}.{name}", _BECOMES[name])
        return found

    def _known(self, value: Json) -> Json:
        """A number may be named by a variable."""
        if isinstance(value, str) and value.startswith(ENVIRON):
            return self._upstreams.environ(value.removeprefix(ENVIRON))
        return value

    def _rest(self) -> None:
        for name, value in self._entry.items():
            if name == "model_info" and isinstance(value, Mapping):
                for each in value:
                    self._info(f"{self._path}.model_info.{each}", each)
            elif name not in ("model_name", "litellm_params"):
                self._notes.left(f"{self._path}.{name}", "this gateway has nothing that does it")

    def _info(self, path: str, name: str) -> None:
        if name == "base_model":
            mend = "add price to the version, if its model's own name is not in the price table"
            self._notes.left(path, "prices are found by the model's name", mend)
        elif name == "mode":
            self._notes.taken(path, "nothing to say: every route serves all endpoints that its upstream has")
        elif name not in _PRICES:
            self._notes.left(path, "it is not needed, or this gateway has nothing that does it")
