"""Who is measured: how each gateway is started in front of the same upstream. Starts nothing itself."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.options import ROOT, Options

MODEL = "mock-model"
# The route that an app names; every peer is asked for a model of this name.
ROUTE = "support-bot"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a gateway runs: its own folder and port, and the upstream's port."""

    folder: Path
    port: int
    upstream_port: int

    @property
    def upstream(self) -> str:
        return f"http://127.0.0.1:{self.upstream_port}"


@dataclass(frozen=True, slots=True)
class Launch:
    """How a gateway is started: a command, files for its folder, what its environment gets."""

    command: tuple[str, ...]
    files: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Peer:
    """One row of the tables. `launch` None: no gateway, the upstream itself."""

    name: str
    launch: Callable[[Place], Launch] | None


@dataclass(frozen=True, slots=True)
class Missing:
    """A row that is left out on this machine, and why."""

    name: str
    reason: str


def peers(options: Options) -> tuple[list[Peer], list[Missing]]:
    """Who can run here, nginx first: all others are told as multiples of it."""
    found, missing = [], []
    if shutil.which("nginx"):
        found.append(Peer("nginx", nginx))
    else:
        missing.append(Missing("nginx", "not installed"))
    found.append(Peer("pointsman", pointsman))
    if options.litellm is not None:
        executable = options.litellm
        found.append(Peer("litellm", lambda place: litellm(place, executable)))
    else:
        missing.append(
            Missing("litellm", "no litellm[proxy]: name its executable with --litellm or BENCH_LITELLM")
        )
    return [Peer("direct", None), *found], missing


NGINX = """
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 4096; }}
http {{
  access_log off; keepalive_requests 1000000000; client_max_body_size 10m; client_body_buffer_size 1m;
  upstream up {{ server 127.0.0.1:{upstream_port}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://up; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off;
    }}
  }}
}}
"""


def nginx(place: Place) -> Launch:
    """A reverse proxy with keep-alive to the upstream and no logic at all: the anchor."""
    text = NGINX.format(folder=place.folder, port=place.port, upstream_port=place.upstream_port)
    return Launch(
        ("nginx", "-c", str(place.folder / "nginx.conf"), "-p", str(place.folder)), {"nginx.conf": text}
    )


def litellm(place: Place, executable: str) -> Launch:
    """litellm[proxy] in production mode: one worker, no database, no key."""
    config = {
        "model_list": [
            {
                "model_name": ROUTE,
                "litellm_params": {
                    "model": f"openai/{MODEL}",
                    "api_base": f"{place.upstream}/v1",
                    "api_key": "none",
                },
            }
        ],
        "litellm_settings": {"num_retries": 0, "telemetry": False},
    }
    environ = {
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MODE": "PRODUCTION",
        "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
    }
    config_file = str(place.folder / "config.yaml")
    command = (executable, "--config", config_file, "--host", "127.0.0.1", "--port", str(place.port))
    return Launch((*command, "--num_workers", "1"), {"config.yaml": json.dumps(config)}, environ)


def pointsman(
    place: Place, *more: str, workers: int = 1, config: Mapping[str, object] | None = None
) -> Launch:
    """Ours, with its embedded store, unless `more` says otherwise."""
    config_file = str(place.folder / "pointsman.yaml")
    command = (*command_line(), "serve", "-c", config_file, "--host", "127.0.0.1", "--port", str(place.port))
    command = (*command, "--workers", str(workers), "--data-dir", str(place.folder / "data"), *more)
    text = json.dumps(config if config is not None else declaration(place))  # JSON is YAML
    return Launch(command, {"pointsman.yaml": text}, {"PYTHONPATH": str(ROOT)})


def command_line() -> tuple[str, ...]:
    """`pointsman`, by the interpreter that runs the benchmark, whether the package is installed or not."""
    return (sys.executable, "-c", "from gateway.cli import main; main()")


def declaration(place: Place) -> dict[str, object]:
    """A route as people have it: a templated prompt of which a candidate gets ten percent, and a model."""
    return {
        "upstreams": {"mock": {"kind": "openai", "base_url": f"{place.upstream}/v1"}},
        "flags": {
            f"{ROUTE}.prompt": {
                "layer": "prompt",
                "serve": "v1",
                "safe": "v1",
                "rollout": {"variant": "v2", "percent": 10},
                "variants": {"v1": prompt("You answer for {{ company }}."), "v2": prompt("Answer as {{ company }} would.")},
            },
            f"{ROUTE}.model": {"layer": "model", "serve": "m1", "variants": {"m1": {"upstream": "mock", "model": MODEL}}},
        },
        "routes": {ROUTE: {}},
    }  # fmt: skip


def prompt(text: str) -> dict[str, object]:
    """One prompt version."""
    return {"messages": [{"role": "system", "content": text}], "variables": {"company": "Acme"}}
