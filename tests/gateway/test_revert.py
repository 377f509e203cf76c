"""An object becomes again what it was: also after it was deleted, and never so that it names what is not there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from flags.change import Draft
from flags.errors import NotFound, Refused
from flags.ledger import Author
from flags.model import Document, Kind, ObjectKey
from tests.gateway.office import Office, by, key_of, prompt

PROMPT = "support-bot.prompt"
MODEL = "support-bot.model"
ROUTE = ObjectKey(Kind.ROUTE, "support-bot")
MOCK = ObjectKey(Kind.UPSTREAM, "mock")


async def delete(office: Office, *keys: ObjectKey) -> None:
    """Delete objects as `apply --prune` does."""
    drafts = [Draft("delete", key, None) for key in keys]
    committed = await office.store.change(Author("config", "pruned"), None, lambda _: drafts)
    await office.store.acknowledged(committed.position, 5.0, committed.workers)


class TestRevert:
    async def test_makes_a_flag_what_it_was_in_a_new_generation(self, office: Office) -> None:
        switched = await office.operations.switch(by(), PROMPT, "v7")
        await office.operations.rollback(by(), PROMPT)

        done = await office.operations.revert(by(), key_of(PROMPT), switched.revision)

        after = await office.flag()
        assert (done.origin, done.to, done.changed) == ("v6", "v7", True)
        assert (after.served, after.withdrawn, after.variants["v7"].generation) == ("v7", frozenset(), 3)

    async def test_means_the_state_as_of_a_revision_between_two_changes(self, office: Office) -> None:
        first = await office.operations.switch(by(), "support-bot.model", "gpt-4o")
        await office.operations.switch(by(), PROMPT, "v7")

        done = await office.operations.revert(by(), key_of(PROMPT), first.revision)

        assert done.to == "v6"

    async def test_keeps_the_note_of_what_the_file_declared_last(self, office: Office) -> None:
        route = ObjectKey(Kind.ROUTE, "support-bot")
        first = await office.put(route, {"spec": {"sticky": "api_key"}, "declared": "1" * 64})
        await office.put(route, {"spec": {"sticky": "user"}, "declared": "2" * 64})

        done = await office.operations.revert(by(), route, first)

        assert (done.flag, done.changed) == ("route/support-bot", True)
        stored = office.snapshot().objects[route]
        assert stored.document == {"spec": {"sticky": "api_key"}, "declared": "2" * 64}
        assert (await office.operations.revert(by(), route, first)).changed is False

    async def test_refuses_a_revision_at_which_the_object_was_not(self, office: Office) -> None:
        with pytest.raises(NotFound, match="did not exist as of revision 1"):
            await office.operations.revert(by(), ObjectKey(Kind.POLICY, "absent"), 1)

    async def test_refuses_contents_that_were_erased(self, office: Office) -> None:
        flag = await office.flag()
        switched = await office.operations.switch(by(), PROMPT, "v7")
        await office.store._calls.run(
            lambda redis: redis.hdel(office.store.keys.contents, flag.variants["v5"].hash)
        )

        with pytest.raises(Refused) as refused:
            await office.operations.revert(by(), key_of(PROMPT), switched.revision - 1)
        assert refused.value.rule == "content_erased"


class TestRevertOfADeletedFlag:
    async def test_brings_it_back_with_no_generation_lower_than_before(self, office: Office) -> None:
        switched = await office.operations.switch(by(), PROMPT, "v7")
        await office.operations.rollback(by(), PROMPT)
        await office.operations.restore(by(), PROMPT, "v7")
        await delete(office, key_of(PROMPT))

        done = await office.operations.revert(by(), key_of(PROMPT), switched.revision)

        after = await office.flag()
        assert (done.changed, done.origin, done.to, done.routes) == (True, None, "v7", ["support-bot"])
        assert (after.serve, after.safe, after.withdrawn) == ("v7", "v6", frozenset())
        assert {name: each.generation for name, each in after.variants.items()} == {"v5": 1, "v6": 1, "v7": 4}
        for watcher in office.watchers:
            assert watcher.snapshot.flags[PROMPT].flag.served == "v7"

    async def test_counts_on_where_it_was_declared_anew_meanwhile(self, office: Office) -> None:
        switched = await office.operations.switch(by(), PROMPT, "v7")
        await delete(office, key_of(PROMPT))
        await office.declare(prompt())

        done = await office.operations.revert(by(), key_of(PROMPT), switched.revision)

        assert (done.origin, done.to) == ("v6", "v7")


class TestRevertToWhatNamesSomethingGone:
    @pytest.fixture
    async def furnished(self, office: Office) -> Office:
        """The office with the upstream that its model versions name."""
        await office.put(MOCK, {"spec": {"kind": "simulated"}})
        return office

    async def refused(self, office: Office, key: ObjectKey, revision: int, match: str) -> None:
        before = await office.store.head()
        with pytest.raises(Refused, match=match) as refused:
            await office.operations.revert(by(), key, revision)
        assert refused.value.rule == "missing_reference"
        assert "revert" in (refused.value.mend or "")
        assert await office.store.head() == before

    async def test_a_model_version_whose_upstream_was_deleted_is_refused(self, furnished: Office) -> None:
        switched = await furnished.operations.switch(by(), MODEL, "gpt-4o")
        await furnished.operations.rollback(by(), MODEL)
        await delete(furnished, MOCK)

        match = r"flags\.support-bot\.model\.variants\.gpt-4o\.upstream: upstream 'mock' is not defined"
        await self.refused(furnished, key_of(MODEL), switched.revision, match)

    async def test_and_taken_once_the_upstream_is_back(self, furnished: Office) -> None:
        there = (await furnished.store.head()).position.revision
        switched = await furnished.operations.switch(by(), MODEL, "gpt-4o")
        await delete(furnished, MOCK, key_of(MODEL))

        await furnished.operations.revert(by(), MOCK, there)
        done = await furnished.operations.revert(by(), key_of(MODEL), switched.revision)

        assert done.to == "gpt-4o"

    async def test_a_route_whose_model_flag_was_deleted_is_refused(self, furnished: Office) -> None:
        there = (await furnished.store.head()).position.revision
        await delete(furnished, ROUTE, key_of(MODEL))

        await self.refused(furnished, ROUTE, there, "the route has no model layer")

    async def test_a_route_that_named_a_flag_of_its_own_choice_is_refused_too(
        self, furnished: Office
    ) -> None:
        first = await furnished.put(ROUTE, {"spec": {"prompt": "other"}})
        await furnished.put(ROUTE, {"spec": {}})

        await self.refused(
            furnished, ROUTE, first, r"routes\.support-bot\.prompt: flag 'other' is not defined"
        )

    async def test_a_flag_of_another_layer_than_its_route_uses_is_refused(self, furnished: Office) -> None:
        made, contents = prompt()
        await delete(furnished, key_of(PROMPT))
        await furnished.declare((replace(made, layer=None), contents))
        plain = (await furnished.store.head()).position.revision
        await delete(furnished, key_of(PROMPT))
        await furnished.declare(prompt())

        await self.refused(furnished, key_of(PROMPT), plain, "has no layer; expected prompt")

    async def test_a_policy_about_a_metric_that_is_gone_is_refused(self, furnished: Office) -> None:
        policy, metric = ObjectKey(Kind.POLICY, "p"), ObjectKey(Kind.METRIC, "helpful")
        spec: dict[str, Any] = {"metric": "helpful", "limit": 0.5}
        kept: Document = {"spec": {"type": "boolean", "better": "higher"}}
        await furnished.put(metric, kept)
        first = await furnished.put(policy, {"spec": spec})
        await furnished.put(policy, {"spec": {**spec, "limit": 0.6}})
        await delete(furnished, metric)

        await self.refused(furnished, policy, first, "metric 'helpful' is not defined")
        await furnished.put(metric, kept)
        assert (await furnished.operations.revert(by(), policy, first)).changed

    async def test_other_flags_of_a_broken_route_can_still_be_reverted(self, furnished: Office) -> None:
        switched = await furnished.operations.switch(by(), PROMPT, "v7")
        await furnished.operations.rollback(by(), PROMPT)
        await delete(furnished, key_of(MODEL))

        assert (await furnished.operations.revert(by(), key_of(PROMPT), switched.revision)).to == "v7"
