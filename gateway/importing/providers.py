"""What is known of providers: where they are, which variable holds their key, and who speaks OpenAI's format.

A table and how to read a model's name by it. Knows no document.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple


class Provider(NamedTuple):
    """A provider that is spoken to natively. `base_url` None: it has none of its own, the file must give it."""

    base_url: str | None
    key: str | None
    # What stands between the address that LiteLLM is given and OpenAI's paths.
    below: str = ""


# Addresses and variables as the providers' own documentation, and LiteLLM's, has them.
COMPATIBLE: Mapping[str, Provider] = MappingProxyType(
    {
        "openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY"),
        "text-completion-openai": Provider("https://api.openai.com/v1", "OPENAI_API_KEY"),
        "custom_openai": Provider(None, "OPENAI_API_KEY"),
        "openai_like": Provider(None, "OPENAI_LIKE_API_KEY"),
        "cerebras": Provider("https://api.cerebras.ai/v1", "CEREBRAS_API_KEY"),
        "deepinfra": Provider("https://api.deepinfra.com/v1/openai", "DEEPINFRA_API_KEY"),
        "deepseek": Provider("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        "fireworks_ai": Provider("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        "groq": Provider("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        "mistral": Provider("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        "nvidia_nim": Provider("https://integrate.api.nvidia.com/v1", "NVIDIA_NIM_API_KEY"),
        "openrouter": Provider("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "perplexity": Provider("https://api.perplexity.ai", "PERPLEXITYAI_API_KEY"),
        "sambanova": Provider("https://api.sambanova.ai/v1", "SAMBANOVA_API_KEY"),
        "together_ai": Provider("https://api.together.xyz/v1", "TOGETHERAI_API_KEY"),
        "xai": Provider("https://api.x.ai/v1", "XAI_API_KEY"),
        "hosted_vllm": Provider(None, None),
        "vllm": Provider(None, None),
        "litellm_proxy": Provider(None, "LITELLM_PROXY_API_KEY"),
        "llamafile": Provider("http://127.0.0.1:8080/v1", None),
        "lm_studio": Provider(None, None),
        "xinference": Provider(None, None),
        # Ollama's own format is another; below /v1 it speaks OpenAI's.
        "ollama": Provider("http://localhost:11434", None, "/v1"),
        "ollama_chat": Provider("http://localhost:11434", None, "/v1"),
    }
)
AZURE, ANTHROPIC, OPENAI = "azure", "anthropic", "openai"
# Where Azure's OpenAI endpoints take a deployment's name as the model, below /openai/v1, without an api-version.
AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")
# Whose model it is where no provider stands before the name.
_BY_NAME = (
    (re.compile(r"(gpt|chatgpt|o\d|text-embedding|dall-e|whisper|tts|omni|davinci|babbage|ft:)", re.I), OPENAI),
    (re.compile(r"claude", re.I), ANTHROPIC),
    (re.compile(r"gemini", re.I), "vertex_ai"),
    (re.compile(r"(command|rerank|embed-)", re.I), "cohere"),
)  # fmt: skip


def provider_of(model: str, named: str | None, *, addressed: bool) -> tuple[str, str] | None:
    """The provider and its own name of the model; None where nothing tells who it is.

    `named` is a provider given beside the model, `addressed`: an address is given, so an unknown one speaks OpenAI's format.
    """
    if named:
        return named, model.removeprefix(f"{named}/")
    prefix, slash, rest = model.partition("/")
    if slash and prefix in COMPATIBLE:
        return prefix, rest
    if slash and not (addressed and prefix not in _TRANSLATED):
        return prefix, rest
    for pattern, provider in _BY_NAME:
        if pattern.match(model):
            return provider, model
    return (OPENAI, model) if addressed or model == "*" else None


# Prefixes that are providers, whatever address is given with them; any other is part of the model's name there.
_TRANSLATED = frozenset(
    {
        "azure", "anthropic", "azure_ai", "azure_text", "bedrock", "bedrock_converse", "cohere", "cohere_chat",
        "cloudflare", "clarifai", "databricks", "gemini", "github", "github_copilot", "huggingface", "infinity",
        "jina_ai", "meta_llama", "moonshot", "nebius", "novita", "oci", "petals", "predibase", "replicate",
        "sagemaker", "sagemaker_chat", "snowflake", "triton", "vertex_ai", "vertex_ai_beta", "voyage", "volcengine",
        "watsonx", "watsonx_text",
    }
)  # fmt: skip
