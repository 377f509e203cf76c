"""Builders of config files for the tests: the contract's own example, and small ones."""

from __future__ import annotations

from pathlib import Path

from gateway.config.declaration import ConfigInvalid, Known, Problem
from gateway.config.loading import NOTHING_KNOWN, load_file

# CONTRACT §5, to the letter.
EXAMPLE = """\
upstreams:
  openai:  {kind: openai, base_url: https://api.openai.com/v1, api_key: os.environ/OPENAI_API_KEY}
  claude:  {kind: anthropic, api_key: os.environ/ANTHROPIC_API_KEY}
  bedrock: {kind: litellm, provider: bedrock}
  mock:    {kind: simulated}
flags:
  support-bot.prompt:
    layer: prompt
    serve: v6
    safe: v6
    rollout: {variant: v7, percent: 10}
    variants:
      v6: {messages: [{role: system, content: "You answer for {{ company }}."}], variables: {company: Acme}}
      v7: {file: prompts/support-v7.yaml}
  support-bot.model:
    layer: model
    serve: gpt-4.1
    variants:
      gpt-4.1: {upstream: openai, model: gpt-4.1, params: {temperature: 0.2}}
      gpt-4o:  {upstream: openai, model: gpt-4o}
  new-greeting: {variants: {"on": true, "off": false}, serve: "off"}
routes:
  support-bot: {}            # layers are found by name (<route>.<layer>) or given: {index: kb.index}
metrics:
  helpful: {type: boolean, better: higher}       # accuracy (higher) and hallucination (lower) exist from the start
policies:
  error-brake: {metric: error_rate, limit: 0.05, action: rollback}
  slow-brake:  {metric: latency, quantile: 0.95, times_safe: 1.5, layer: model, routes: [support-bot], dry_run: true}
notify:
  team:  {kind: slack, url: os.environ/SLACK_URL}
  audit: {kind: cloudevents, url: https://audit.example/hook, secret: os.environ/HOOK_SECRET}
keys: {file: keys.yaml}
"""
V7 = 'messages:\n  - role: system\n    content: "Hello from {{ company }}: {{ question }}"\n'


def write(folder: Path, text: str = EXAMPLE, name: str = "config.yaml", **files: str) -> Path:
    """`text` as a config file in `folder`, beside the example's prompt."""
    (folder / "prompts").mkdir(exist_ok=True)
    (folder / "prompts" / "support-v7.yaml").write_text(V7, encoding="utf-8")
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(folder: Path, text: str, known: Known = NOTHING_KNOWN) -> list[Problem]:
    """What the loader finds wrong with `text`; nothing when it takes it."""
    try:
        load_file(write(folder, text), known)
    except ConfigInvalid as error:
        return list(error.problems)
    return []
