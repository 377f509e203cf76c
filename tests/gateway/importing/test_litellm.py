"""A LiteLLM config becomes ours: it can be loaded, every path is accounted for, and no secret is copied."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.loading import declaration_from
from gateway.importing.litellm import from_litellm, looks_like_litellm
from gateway.importing.models import MAX_ENTRIES
from gateway.importing.report import Malformed, Report
from gateway.importing.versions import MAX_FALLBACKS

SECRET = "sk-very-secret-indeed-0123456789"
ENVIRON = {"VLLM_BASE": "https://user:pass@vllm.example:8443/v1/?a=b", "FIRST_MODEL": "openai/gpt-4.1"}


def entry(name: str, model: str, info: Any = None, **params: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"model_name": name, "litellm_params": {"model": model, **params}}
    return found | ({"model_info": info} if info is not None else {})


def imported(*entries: Any, **sections: Any) -> tuple[dict[str, Any], Report]:
    """The result, which must be a config that we take."""
    document, report = from_litellm({"model_list": list(entries), **sections}, ENVIRON.get)
    declaration_from(document)
    return document, report


def content(document: Mapping[str, Any], route: str) -> dict[str, Any]:
    flag = document["flags"][f"{route}.model"]
    found: dict[str, Any] = flag["variants"][flag["serve"]]
    return found


def upstream(model: str, **params: Any) -> dict[str, Any]:
    document, _ = imported(entry("x", model, **params))
    (found,) = document["upstreams"].values()
    return dict(found)


def paths(notes: Any) -> set[str]:
    return {note.path for note in notes}


class TestUpstreams:
    @pytest.mark.parametrize(
        ("model", "params", "expected"),
        [
            ("gpt-4o", {}, {"kind": "openai", "base_url": "https://api.openai.com/v1"}),
            ("o3-mini", {}, {"kind": "openai", "base_url": "https://api.openai.com/v1"}),
            ("groq/llama-3", {}, {"kind": "openai", "base_url": "https://api.groq.com/openai/v1"}),
            ("ollama/llama3", {}, {"kind": "openai", "base_url": "http://localhost:11434/v1"}),
            ("ollama/l", {"api_base": "http://h:1/"}, {"kind": "openai", "base_url": "http://h:1/v1"}),
            (
                "hosted_vllm/facebook/opt",
                {"api_base": "http://v:8000/v1"},
                {"kind": "openai", "base_url": "http://v:8000/v1"},
            ),
            (
                "facebook/opt-125m",
                {"api_base": "http://v:8000/v1"},
                {"kind": "openai", "base_url": "http://v:8000/v1"},
            ),
            ("claude-sonnet-4", {}, {"kind": "anthropic"}),
            (
                "anthropic/claude",
                {"api_base": "https://a.example/v1"},
                {"kind": "anthropic", "base_url": "https://a.example"},
            ),
            ("bedrock/claude", {"aws_region_name": "eu"}, {"kind": "litellm", "provider": "bedrock"}),
            ("gemini-2.5-pro", {}, {"kind": "litellm", "provider": "vertex_ai"}),
            ("newcomer/m", {}, {"kind": "litellm", "provider": "newcomer"}),
            ("m", {"custom_llm_provider": "cohere"}, {"kind": "litellm", "provider": "cohere"}),
        ],
    )
    def test_who_speaks_openais_or_anthropics_format_is_native(
        self, model: str, params: dict[str, Any], expected: dict[str, Any]
    ) -> None:
        assert upstream(model, **params).items() >= expected.items()

    def test_azure_is_asked_natively_by_its_key(self) -> None:
        found = upstream(
            "azure/prod",
            api_base="https://r.openai.azure.com/",
            api_key="os.environ/K",
            api_version="2024-06-01",
        )

        assert found == {
            "kind": "openai",
            "base_url": "https://r.openai.azure.com/openai/v1",
            "auth_header": "api-key",
            "api_key": "os.environ/K",
        }

    @pytest.mark.parametrize(
        "params",
        [
            {"api_base": "https://apim.example/azure", "api_key": "os.environ/K"},
            {"api_base": "https://r.openai.azure.com", "azure_ad_token": "os.environ/T"},
            {"api_base": "https://r.openai.azure.com", "tenant_id": "t", "client_secret": SECRET},
        ],
    )
    def test_azure_behind_another_host_or_identity_is_translated(self, params: dict[str, Any]) -> None:
        assert upstream("azure/prod", **params)["kind"] == "litellm"

    def test_are_one_for_each_provider_address_and_key(self) -> None:
        document, _ = imported(
            entry("a", "openai/a", api_key="os.environ/ONE"),
            entry("b", "openai/b", api_key="os.environ/ONE"),
            entry("c", "openai/c", api_key="os.environ/TWO"),
            entry("d", "openai/d", api_key="os.environ/ONE", api_base="http://h/v1"),
        )

        assert list(document["upstreams"]) == ["openai", "openai-2", "openai-3"]
        assert content(document, "a")["upstream"] == content(document, "b")["upstream"]

    def test_an_address_by_variable_is_written_out_without_its_password(self) -> None:
        document, report = imported(entry("a", "openai/a", api_base="os.environ/VLLM_BASE"))

        assert document["upstreams"]["openai"]["base_url"] == "https://vllm.example:8443/v1"
        assert "model_list[0].litellm_params.api_base" in paths(report.changed)

    def test_an_address_that_is_not_known_here_is_told(self) -> None:
        document, report = imported(entry("a", "openai/a", api_base="os.environ/NOT_SET"))

        assert document["upstreams"]["openai"]["base_url"] == "https://not-set.invalid"
        assert "set NOT_SET and import again" in report.text()

    def test_a_named_credential_is_used(self) -> None:
        document, _ = imported(
            entry("a", "openai/a", litellm_credential_name="c"),
            credential_list=[{"credential_name": "c", "credential_values": {"api_key": "os.environ/C"}}, 3],
        )

        assert document["upstreams"]["openai"]["api_key"] == "os.environ/C"


class TestSecrets:
    def test_none_is_copied_into_result_or_report(self) -> None:
        document, report = imported(
            entry("a", "openai/a", api_key=SECRET, extra_headers={"X-Api-Key": SECRET, "X-Team": "shop"}),
            entry("b", "bedrock/b", aws_access_key_id=SECRET, aws_secret_access_key=SECRET + "x"),
            entry("c", "openai/c", api_key="os.environ/OPENAI_API_KEY", api_base=f"https://u:{SECRET}@h/v1"),
            entry("d", "groq/d", metadata={"token": SECRET}, user=SECRET, extra_body={"api_key": SECRET}),
            entry("e", "vertex_ai/e", vertex_credentials=SECRET),
            general_settings={"master_key": SECRET, "database_url": SECRET},
            environment_variables={"OPENAI_API_KEY": SECRET},
            litellm_settings={"cache": True, "cache_params": {"password": SECRET}},
            guardrails=[{"api_key": SECRET}],
        )
        told = json.dumps(document) + report.text() + json.dumps(msgspec.to_builtins(report))

        assert "very-secret" not in told

    def test_the_same_one_gets_the_same_name_and_no_name_that_is_taken(self) -> None:
        document, _ = imported(
            entry("a", "openai/a", api_key=SECRET),
            entry("b", "openai/b", api_key=SECRET),
            entry("c", "openai/c", api_key="other"),
            entry("d", "openai/d", api_key="os.environ/OPENAI_API_KEY"),
        )

        keys = [each["api_key"] for each in document["upstreams"].values()]
        assert keys == [
            "os.environ/OPENAI_API_KEY_2",
            "os.environ/OPENAI_API_KEY_3",
            "os.environ/OPENAI_API_KEY",
        ]


class TestVersions:
    def test_entries_of_one_name_are_targets_with_weights(self) -> None:
        document, _ = imported(
            entry("m", "openai/a", weight=9),
            entry("m", "groq/b", weight=1),
            entry("m", "mistral/c", weight=0),
        )

        found = content(document, "m")
        assert (found["upstream"], found["weight"]) == ("openai", 9)
        assert found["targets"] == [{"upstream": "groq", "model": "b", "weight": 1}]
        assert found["fallbacks"] == [{"upstream": "mistral", "model": "c"}]

    def test_limits_weigh_targets_where_no_weight_is_given_and_hold_nowhere(self) -> None:
        document, report = imported(
            entry("m", "openai/a", rpm=600), entry("m", "groq/b", rpm=300), entry("n", "groq/b", rpm=7)
        )

        found = content(document, "m")
        assert (found["weight"], found["targets"][0]["weight"]) == (600, 300)
        assert "model_list[0].litellm_params.rpm" in paths(report.changed)
        assert "model_list[2].litellm_params.rpm" in paths(report.not_taken)

    def test_a_later_order_is_a_fallback(self) -> None:
        document, _ = imported(entry("m", "openai/a", order=1), entry("m", "groq/b", order=2))

        assert content(document, "m")["fallbacks"] == [{"upstream": "groq", "model": "b"}]

    def test_what_waits_and_retries_is_the_models_else_the_routers_else_the_librarys(self) -> None:
        document, _ = imported(
            entry("m", "openai/a", timeout=30, stream_timeout="10", max_retries=1),
            entry("n", "openai/a"),
            router_settings={"num_retries": 3},
            litellm_settings={"num_retries": 9, "request_timeout": 90},
        )

        m, n = content(document, "m"), content(document, "n")
        assert (m["total_seconds"], m["timeout_seconds"], m["retries"]) == (30, 10, 1)
        assert (n["total_seconds"], n.get("timeout_seconds"), n["retries"]) == (90, None, 3)

    def test_prices_are_for_a_million_tokens_and_half_a_price_is_none(self) -> None:
        price = {"input_cost_per_token": 2.5e-6, "output_cost_per_token": 1e-5}
        document, report = imported(
            entry("m", "openai/a", price), entry("n", "openai/b", {"input_cost_per_token": 1e-6})
        )

        assert content(document, "m")["price"] == {"input_per_million": 2.5, "output_per_million": 10.0}
        assert "price" not in content(document, "n")
        assert "model_list[1].model_info.input_cost_per_token" in paths(report.not_taken)

    def test_parameters_are_sent_and_unknown_ones_told(self) -> None:
        document, report = imported(
            entry(
                "m", "openai/a", temperature=0.2, extra_body={"guided": 1, "model": "x"}, mock_response="hi"
            )
        )

        assert content(document, "m")["params"] == {"temperature": 0.2, "guided": 1}
        assert paths(report.not_taken) >= {
            "model_list[0].litellm_params.extra_body.model",
            "model_list[0].litellm_params.mock_response",
        }

    def test_targets_that_differ_in_parameters_are_told(self) -> None:
        _, report = imported(entry("m", "openai/a", temperature=0), entry("m", "groq/b", temperature=1))

        assert "model_list[1]" in paths(report.changed)


class TestRouting:
    def test_fallbacks_are_the_targets_of_the_models_named(self) -> None:
        document, report = imported(
            entry("m", "openai/a"),
            entry("n", "groq/b"),
            entry("o", "mistral/c"),
            router_settings={"fallbacks": [{"m": ["n", "m", "gone"]}]},
            litellm_settings={"default_fallbacks": ["o"]},
        )

        assert content(document, "m")["fallbacks"] == [{"upstream": "groq", "model": "b"}]
        assert content(document, "n")["fallbacks"] == [{"upstream": "mistral", "model": "c"}]
        assert "fallbacks" not in content(document, "o")
        assert "gone" in report.text()

    def test_fallbacks_are_bounded(self) -> None:
        models = [entry(f"m{n}", f"openai/{n}") for n in range(MAX_FALLBACKS + 9)]
        names = [f"m{n}" for n in range(MAX_FALLBACKS + 9)]
        document, _ = imported(*models, litellm_settings={"default_fallbacks": names})

        assert len(content(document, "m0")["fallbacks"]) == MAX_FALLBACKS

    def test_names_that_we_refuse_are_mended_and_told(self) -> None:
        document, report = imported(
            entry("anthropic/claude 3", "anthropic/claude-3"),
            entry("anthropic-claude-3", "openai/a"),
            entry("日本", "openai/a"),
            entry("x" * 300, "openai/a"),
        )

        names = ["anthropic-claude-3-2", "anthropic-claude-3", "model", "x" * 120]
        assert list(document["routes"]) == names
        assert content(document, "anthropic-claude-3")["model"] == "a"
        assert "model_list[0].model_name" in paths(report.changed)

    def test_an_alias_is_a_route_with_the_same_flag(self) -> None:
        document, report = imported(
            entry("m", "openai/a"),
            router_settings={
                "model_group_alias": {"small": "m", "big": {"model": "m", "hidden": True}, "x": "?"}
            },
        )

        assert document["routes"] == {"m": {}, "small": {"model": "m.model"}, "big": {"model": "m.model"}}
        assert "router_settings.model_group_alias.x" in paths(report.not_taken)

    def test_all_other_names_go_where_the_star_says(self) -> None:
        document, report = imported(entry("m", "openai/a"), entry("*", "openai/*"))

        assert document["routes"]["*"] == {"model": "catch-all.model"}
        assert content(document, "catch-all") == {"upstream": "openai", "model": "*"}
        assert "model_list[1].model_name" in paths(report.taken)

    def test_a_pattern_of_names_is_left_and_its_upstream_declared(self) -> None:
        document, report = imported(entry("m", "openai/a"), entry("groq/*", "groq/*"))

        assert (list(document["routes"]), "groq" in document["upstreams"]) == (["m"], True)
        assert "model_list[1].model_name" in paths(report.not_taken)

    def test_a_cache_with_a_time_is_one_of_every_route(self) -> None:
        cache = {"cache": True, "cache_params": {"type": "redis", "ttl": 600}}
        document, _ = imported(entry("m", "openai/a"), litellm_settings=cache)
        without, report = imported(entry("m", "openai/a"), litellm_settings={"cache": True})

        assert document["routes"]["m"] == {"cache": {"seconds": 600}}
        assert without["routes"]["m"] == {}
        assert "litellm_settings.cache" in paths(report.not_taken)

    def test_signs_of_life_on_silent_streams_are_kept(self) -> None:
        settings = {"sse_keepalive_ping_interval_seconds": 20}
        document, report = imported(entry("m", "openai/a"), litellm_settings=settings)

        assert document["routes"]["m"] == {"keep_alive_seconds": 20}
        assert "litellm_settings.sse_keepalive_ping_interval_seconds" in paths(report.taken)

    def test_a_model_by_variable_is_read(self) -> None:
        document, report = imported(entry("m", "os.environ/FIRST_MODEL"), entry("n", "os.environ/GONE"))

        assert content(document, "m")["model"] == "gpt-4.1"
        assert "model_list[1]" in paths(report.not_taken)


def test_every_setting_is_accounted_for() -> None:
    document: dict[str, Any] = {
        "model_list": [
            entry(
                "m",
                "azure/a",
                {"id": "i", "mode": "chat", "base_model": "b", "supports_vision": True},
                api_base="https://r.openai.azure.com",
                api_key="os.environ/K",
                api_version="v",
                rpm=1,
                tpm=2,
                weight=3,
                timeout=1,
                stream_timeout=2,
                max_retries=1,
                temperature=0.5,
                cooldown_time=3,
                order=1,
                custom_llm_provider="azure",
                organization="o",
                headers={"X-A": "b"},
                aws_region_name="x",
                max_parallel_requests=4,
                tags=["t"],
            )
        ],
        "router_settings": {
            "routing_strategy": "least-busy",
            "allowed_fails": 3,
            "redis_host": "h",
            "odd": 1,
        },
        "litellm_settings": {"drop_params": True, "callbacks": ["otel"], "context_window_fallbacks": []},
        "general_settings": {"master_key": "x", "database_url": "y", "alerting": ["slack"]},
        **dict.fromkeys(
            ("environment_variables", "guardrails", "mcp_servers", "vector_store_registry", "prompts")
        ),
        "something_new": 1,
    }
    _, report = from_litellm(document, ENVIRON.get)
    noted = paths((*report.taken, *report.changed, *report.not_taken))

    wanted = {
        *(f"model_list[0].litellm_params.{name}" for name in document["model_list"][0]["litellm_params"]),
        *(f"model_list[0].model_info.{name}" for name in document["model_list"][0]["model_info"]),
        "model_list[0].model_name",
        *(f"{place}.{name}" for place in ("router_settings", "litellm_settings", "general_settings")
          for name in document[place]),
        *(document.keys() - {"model_list", "router_settings", "litellm_settings", "general_settings"}),
    }  # fmt: skip
    assert {each for each in wanted if not any(found.startswith(each) for found in noted)} == set()


class TestMalformed:
    @pytest.mark.parametrize(
        ("document", "says"),
        [
            ([], "a list"),
            ({}, "model_list"),
            ({"flags": {}}, "sections flags"),
            ({"model_list": {}}, "model_list: expected a list of models, found a mapping"),
            ({"model_list": [3]}, "model_list[0]: expected a mapping, found a number"),
            (
                {"model_list": [{"model_name": 3}]},
                "model_list[0].model_name: expected a model's name, found a number",
            ),
            (
                {"model_list": [{"model_name": "m"}]},
                "model_list[0].litellm_params: expected a mapping, found nothing",
            ),
            ({"model_list": [entry("m", "")]}, "model_list[0].litellm_params.model: expected a model's name"),
            ({"model_list": []}, "model_list: no model of it can be taken"),
            ({"model_list": [entry("m", "x")] * (MAX_ENTRIES + 1)}, f"expected {MAX_ENTRIES} models at most"),
        ],
    )
    def test_is_told_with_path_and_what_was_found(self, document: Any, says: str) -> None:
        with pytest.raises(Malformed) as error:
            from_litellm(document, ENVIRON.get)

        assert says in str(error.value)

    def test_all_problems_are_told_at_once(self) -> None:
        with pytest.raises(Malformed) as error:
            from_litellm({"model_list": [1, {"model_name": "m"}]}, ENVIRON.get)

        assert len(error.value.problems) == 2

    @pytest.mark.parametrize("odd", [None, 3, "x", [], {}, [{}], {"a": 1}, True, 1e300, "9" * 400, -1])
    def test_settings_of_another_type_are_told_and_the_rest_is_taken(self, odd: Any) -> None:
        names = (
            "api_base",
            "api_key",
            "timeout",
            "weight",
            "rpm",
            "extra_headers",
            "order",
            "max_retries",
            "tools",
        )
        document, _ = imported(
            entry("m", "openai/a", odd, **dict.fromkeys(names, odd)),
            router_settings={
                **dict.fromkeys(("num_retries", "timeout", "routing_strategy", "model_group_alias"), odd),
                "fallbacks": [{"m": odd}, odd],
            },
            litellm_settings=odd,
            general_settings=odd,
            credential_list=odd,
        )

        assert content(document, "m")["model"] == "a"

    @given(
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-5, 2**53)
            | st.floats(allow_nan=False)
            | st.text(max_size=8),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
            ),
            max_leaves=8,
        )
    )
    def test_whatever_stands_in_a_deployment_ends_in_a_config_or_in_words(self, value: Any) -> None:
        try:
            imported(
                entry("m", "openai/a", value, api_base=value, headers={"a": value}, seed=value), odd=value
            )
        except Malformed as error:
            assert error.problems  # noqa: PT017


def test_a_file_of_litellms_is_known_by_its_sections() -> None:
    assert looks_like_litellm({"model_list": []})
    assert looks_like_litellm({"litellm_settings": {}})
    assert not looks_like_litellm({"flags": {}})
    assert not looks_like_litellm([])
