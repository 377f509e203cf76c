"""The library litellm, loaded once in a worker that needs it: settings first, in a thread, warmed, then frozen.

Knows no upstream and no request. Nothing else in this project imports litellm.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Callable, Mapping, MutableMapping
from types import MappingProxyType, ModuleType
from typing import Any

from gateway.errors import UpstreamUnavailable

log = logging.getLogger("pointsman.litellm")

# Read while litellm is imported, so they must stand before it is; ours win over what an operator set for another program.
ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        # The price map comes with the package: no look at the web.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        # Any other mode reads a `.env` of the working directory into this process's environment.
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_LOG": "ERROR",
        # Its search for secrets takes seconds for each MB of a provider's error, and everybody waits. It is for logs that
        # are off here; what we quote is short, and goes through `translated_errors.clean`.
        "LITELLM_DISABLE_REDACT_SECRETS": "true",
        # By default a stream is aborted after 100 chunks that are alike; no answer has a million.
        "REPEATED_STREAMING_CHUNK_LIMIT": "1000000",
        # /messages goes to /chat/completions of an OpenAI-compatible server, for most have no /responses.
        "LITELLM_USE_CHAT_COMPLETIONS_URL_FOR_ANTHROPIC_MESSAGES": "1",
    }
)

# litellm's gateway for MCP, which it asks about every request with tools, and every one on /responses. In 1.106 these
# modules need the package `mcp` for the mere question. By module: what litellm takes from it.
GATEWAY_FOR_MCP: Mapping[str, str] = MappingProxyType(
    {
        "litellm.responses.mcp.litellm_proxy_mcp_handler": "LiteLLM_Proxy_MCP_Handler",
        "litellm.responses.mcp.chat_completions_handler": "acompletion_with_mcp",
        "litellm.llms.anthropic.pass_through.messages.mcp_handler": "anthropic_messages_with_mcp",
    }
)

# litellm's own server. Each /messages looks whether it runs in this process, and where its packages are missing the
# import is tried, and fails, once more for every request: 100 ms.
SERVER = "litellm.proxy.proxy_server"

# Unlike ours, its requests leave circles behind that hold what was sent and answered: they are looked for every few
# requests, the old ones every hundred or so (5 ms, since what was there before is frozen).
COLLECT = (5_000, 5, 5)

# A connection that does not close by then is left to the end of the process.
CLOSE_SECONDS = 2.0

# `Any`: a library that is imported late has no types here.
Module = Any


class Library:
    """What changes here: whether litellm is loaded, and the one task that loads it."""

    def __init__(
        self,
        *,
        environ: MutableMapping[str, str] | None = None,
        load: Callable[[MutableMapping[str, str]], Module] | None = None,
    ) -> None:
        """`load` is what is done in the thread: it imports, warms and returns the module."""
        self._environ = os.environ if environ is None else environ
        self._load = load or load_warm
        self._module: Module | None = None
        self._loading: asyncio.Task[Module] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether requests need not wait."""
        return self._module is not None

    @property
    def is_loading(self) -> bool:
        """Whether it is needed, and not here yet; a load that failed is over."""
        return self._loading is not None and not self._loading.done()

    def begin(self) -> None:
        """Start loading in the background, where nobody has yet."""
        if self._loading is None:
            self._loading = asyncio.get_running_loop().create_task(self._loaded())
            # Whoever needs the library hears of a failure; where nobody does, it stands in the log.
            self._loading.add_done_callback(lambda task: task.cancelled() or task.exception())

    async def ready(self) -> Module:
        """The library, warm. A waiter that gives up stops nothing. Raises UpstreamUnavailable."""
        if self._module is None:
            self.begin()
            assert self._loading is not None
            self._module = await asyncio.shield(self._loading)
        return self._module

    async def _loaded(self) -> Module:
        try:
            return await asyncio.to_thread(self._load, self._environ)
        except Exception as error:  # an import runs anybody's code, and may fail in any way
            log.exception("the library litellm cannot be loaded; pip install 'litellm>=1.106.2,<2'")
            raise UpstreamUnavailable(
                "the library that translates for this upstream cannot be loaded; the gateway's log says why"
            ) from error

    async def aclose(self) -> None:
        """Close what litellm keeps open on this loop. Idempotent."""
        loading, self._loading = self._loading, None
        module, self._module = self._module, None
        if loading is not None and not loading.done():
            loading.cancel()  # the thread runs to its end
        elif loading is not None and not loading.cancelled() and loading.exception() is None:
            module = loading.result()
        if module is not None:
            await close_connections(module)

    def __repr__(self) -> str:
        return f"<Library {'ready' if self.is_ready else 'loading' if self._loading else 'not needed yet'}>"


def load_warm(environ: MutableMapping[str, str]) -> Module:
    """Import litellm and take it through its first calls (some 4 s in all, 200 MB); for a thread."""
    environ.update(ENVIRONMENT)
    litellm: Module = importlib.import_module("litellm")
    litellm.telemetry = False
    litellm.suppress_debug_info = True
    # What goes wrong is told by our own answers and log; litellm's lines hold addresses and tracebacks.
    for name in ("LiteLLM", "LiteLLM Router", "LiteLLM Proxy"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Pydantic tells of fields that litellm fills with other types, and quotes what stands in them: apps' texts.
    warnings.filterwarnings("ignore", message="Pydantic serializer warnings", category=UserWarning)
    # Counting tokens must not fetch a tokenizer.
    litellm.disable_hf_tokenizer_download = True
    litellm.disable_streaming_logging = True
    absent: dict[str, Any] = {SERVER: None}  # how Python notes that a module is not to be had
    sys.modules.update(absent)
    if importlib.util.find_spec("mcp") is None:
        stand_in_for_mcp()
    asyncio.run(first_calls(litellm))
    gc.freeze()
    gc.set_threshold(*COLLECT)
    return litellm


class NoGateway:
    """Stands where litellm looks for its gateway for MCP: no request is for it."""

    @staticmethod
    def should_use_litellm_mcp_gateway(*_: object, **__: object) -> bool:
        """Never: tools are the provider's business."""
        return False


def stand_in_for_mcp() -> None:
    """Answer litellm's question about its gateway for MCP without the package that the answer would need."""
    for name, wanted in GATEWAY_FOR_MCP.items():
        module = ModuleType(name)
        setattr(module, wanted, NoGateway)
        sys.modules.setdefault(name, module)


async def first_calls(litellm: Module) -> None:
    """What a first call imports and builds, done on answers that need no provider."""
    question: dict[str, Any] = {
        "model": "openai/warm",
        "messages": [{"role": "user", "content": "warm"}],
        "mock_response": "warm",
        "api_key": "none",
    }
    await litellm.acompletion(**question)
    async for _ in await litellm.acompletion(**question, stream=True):
        pass
    await litellm.anthropic.messages.acreate(**question, max_tokens=1)
    litellm.token_counter(model="warm", messages=question["messages"])
    await close_connections(litellm)


async def close_connections(litellm: Module) -> None:
    """Close litellm's cached clients and its background task on this loop."""
    worker = importlib.import_module("litellm.litellm_core_utils.logging_worker")
    cleanup = importlib.import_module("litellm.llms.custom_httpx.async_client_cleanup")
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await cleanup.close_litellm_async_clients()
            litellm.in_memory_llm_clients_cache.flush_cache()
            # Some streams use a client outside that cache; its transport opens a new session when it is used again.
            client = getattr(getattr(litellm, "module_level_aclient", None), "client", None)
            transport = getattr(client, "_transport", None)
            if transport is not None:
                await transport.aclose()
            await worker.GLOBAL_LOGGING_WORKER.stop()
    except TimeoutError:
        log.warning("connections of litellm did not close within %s s", CLOSE_SECONDS)
