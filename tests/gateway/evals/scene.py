"""A gateway whose answers tell which version gave them, and suites that ask it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from flags.canonical import digest
from flags.change import Draft, View
from flags.codec import document_of
from flags.ledger import Author, Entry
from flags.model import Flag, Json, Kind, ObjectKey, Promotion
from gateway.evals.wanted import Wanted
from gateway.house import House
from policies.governance.card import Card, card_key, card_of

FLAG = "bot.prompt"
CONFIG = """
upstreams:
  mock:
    kind: simulated
    rules:
      - {contains: break, reply: {status: 500}}
      - {contains: You judge, reply: {text: "nonsense"}}
      - {contains: You are v6., reply: {text: "v6 says: Paris"}}
      - {contains: You are v7., reply: {text: "v7 says: Rome"}}
flags:
  bot.prompt:
    layer: prompt
    serve: v6
    variants:
      v6: {messages: [{role: system, content: You are v6.}]}
      v7: {messages: [{role: system, content: You are v7.}]}
  bot.model: {layer: model, serve: m, variants: {m: {upstream: mock, model: gpt-4.1}}}
  judge.model: {layer: model, serve: m, variants: {m: {upstream: mock, model: judge}}}
routes:
  bot: {}
  judge: {}
"""


def suite(*tests: Mapping[str, Json], **more: Json) -> Json:
    """A suite of questions; without any, one that asks for a capital and expects Paris."""
    usual: list[Mapping[str, Json]] = [{"vars": {"question": "Which city?"}, "assert": [contains("Paris")]}]
    return {"tests": [*tests] or usual, **more}


def contains(text: str) -> dict[str, Json]:
    return {"type": "contains", "value": text}


def case(question: str, *asserts: Mapping[str, Json]) -> dict[str, Json]:
    return {"vars": {"question": question}, "assert": [*asserts]}


def wanted(variant: str | None = "v6", **more: Any) -> Wanted:
    return Wanted(FLAG, variant, "alice", "because", **{"suite": suite(), **more})


async def log_of(house: House, action: str) -> list[Entry]:
    """The ledger's entries of one action, oldest first."""
    return [entry for entry in await house.store.read_log(0, 1000) if entry.action == action]


async def card(house: House, variant: str, flag: str = FLAG) -> Card:
    """What stands on a version's card."""
    keys = [ObjectKey(Kind.FLAG, flag), card_key(flag, variant)]
    view = (await house.store.change(Author("test", "look"), keys, lambda _: [])).view
    return card_of(flag, view.flag(flag).variants[variant], view.objects.get(keys[1]))


async def change(house: House, made: Any, contents: Mapping[str, Json] | None = None) -> None:
    """Write the flag as `made` makes it of what it is, and wait until the house serves it."""
    key = ObjectKey(Kind.FLAG, FLAG)

    def decide(view: View) -> list[Draft]:
        flag: Flag = made(view.flag(FLAG))
        return [Draft("test", key, document_of(flag), contents or {})]

    committed = await house.store.change(Author("tester", "set up"), [key], decide)
    await house.store.acknowledged(committed.position, 5, [house.worker.id])


async def promote(house: House, document: Json, **rules: Any) -> None:
    """Give the flag promotion rules with this suite."""
    found = Promotion(suite=digest(document), evals="suite.yaml", **rules)
    await change(house, lambda flag: replace(flag, promotion=found), {digest(document): document})
