"""One set of flags for clients in every language, and the fleets that serve them. Knows no client."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.fleet import Fleet

ANN_KEY, SHOP_KEY, BOSS_TOKEN = "ann-key-0123456789", "shop-key-0123456789", "boss-token-0123456789"
# ann may see everything; the shop's routes are none of these, so that it sees only flags without a layer.
KEYS = {
    "apps": [
        {"name": "ann", "key": ANN_KEY, "attributes": {"tier": "inner"}},
        {"name": "shop", "key": SHOP_KEY, "routes": ["shop"]},
    ],
    "operators": [{"name": "boss", "token": BOSS_TOKEN}],
}


def chosen(condition: Any, name: str) -> dict[str, Any]:
    """A rule that gives `name` where `condition` holds, and nothing else."""
    return {"if": [condition, name]}


FLAGS: Mapping[str, Any] = {
    "new-greeting": {"variants": {"on": True, "off": False}, "serve": "on", "safe": "off"},
    "colour": {
        "variants": {"red": "#f00", "gold": "#fc0"},
        "serve": "red",
        "targeting": chosen({"==": [{"var": "plan"}, "gold"]}, "gold"),
        "metadata": {"team": "design", "weight": 2, "public": True},
    },
    "limit": {"variants": {"low": 10, "high": 1000}, "serve": "low"},
    "ratio": {"variants": {"all": 1.0, "half": 0.5}, "serve": "all"},
    "theme": {"variants": {"dark": {"bg": "#000", "sizes": [1, 2.5], "on": True}, "none": {}}, "serve": "dark"},
    "sleeping": {"variants": {"on": True, "off": False}, "serve": "on", "state": "DISABLED"},
    "undecided": {"variants": {"on": True, "off": False}, "serve": None},
    "broken": {"variants": {"on": True, "off": False}, "serve": "on", "targeting": {"var": "pick"}},
    "inner": {
        "variants": {"yes": "in", "no": "out"},
        "serve": "no",
        "targeting": chosen({"==": [{"var": "key.tier"}, "inner"]}, "yes"),
    },
    # What time it is, the evaluation says and no context.
    "clock": {
        "variants": {"now": "now", "forged": "forged"},
        "serve": "forged",
        "targeting": chosen({">": [{"var": "$flagd.timestamp"}, 1_000_000_000]}, "now"),
    },
    # Half of the users, by their key alone.
    "coin": {"variants": {"heads": "heads", "tails": "tails"}, "serve": "tails",
             "rollout": {"variant": "heads", "percent": 50}},
    "support-bot.prompt": {
        "layer": "prompt",
        "serve": "v7",
        "safe": "v6",
        "variants": {
            name: {"messages": [{"role": "system", "content": f"You are {name}."}]} for name in ("v6", "v7")
        },
    },
    "support-bot.model": {"layer": "model", "variants": {"m": {"upstream": "mock", "model": "m"}}},
}  # fmt: skip


def config(**sections: Any) -> str:
    """The config file of a fleet with these flags; `sections` are added to it."""
    mock = {"mock": {"kind": "simulated"}}
    shop = {"shop.model": {"layer": "model", "variants": {"m": {"upstream": "mock", "model": "m"}}}}
    routes: dict[str, Any] = {"support-bot": {}, "shop": {}}
    return json.dumps({"upstreams": mock, "flags": {**FLAGS, **shop}, "routes": routes, **sections})


def fleet(
    folder: Path, *, workers: int = 1, keys: bool = False, options: Sequence[str] = (), **sections: Any
) -> Fleet:
    """A fleet with these flags, not yet started; `keys` gives it KEYS."""
    folder.mkdir(parents=True, exist_ok=True)
    if keys:
        (folder / "keys.yaml").write_text(json.dumps(KEYS))
        sections["keys"] = {"file": "keys.yaml"}
    return Fleet(folder, config(**sections), workers=workers, options=options)
