"""Which flag of a route a rollback of that route means."""

from __future__ import annotations

import pytest

from flags.errors import Refused
from flags.model import Flag, Layer, Rollout
from policies.wayback import brake_of, has_way_back
from tests.policies.test_verbs import a_flag


def a_model(**fields: object) -> Flag:
    return a_flag("r.model", layer=Layer.MODEL, **fields)


def test_the_pipeline_where_it_has_a_way_back() -> None:
    pipeline = a_flag("r.pipeline", layer=Layer.PIPELINE, serve="v7", revision=1)
    prompt = a_flag("r.prompt", serve="v7", revision=9)

    assert brake_of("r", [pipeline, prompt], {}) is pipeline


def test_else_the_one_whose_serving_changed_last() -> None:
    model = a_model(serve="v7", revision=9)
    prompt = a_flag("r.prompt", rollout=Rollout("v7", 5), revision=3)

    assert brake_of("r", [model, prompt], {}) is model
    assert brake_of("r", [model, prompt], {"r.prompt": 3, "r.model": 2}) is prompt


def test_what_the_pipeline_pins_to_another_version_comes_after_all_others() -> None:
    """Its rollback would take back what nobody gets."""
    model, prompt = a_model(serve="v7", revision=9), a_flag("r.prompt", serve="v7", revision=3)

    assert brake_of("r", [model, prompt], {}, pins={Layer.MODEL: "v5"}) is prompt
    assert brake_of("r", [model], {}, pins={Layer.MODEL: "v5"}) is model


def test_a_pin_to_the_version_that_would_go_falls_with_it() -> None:
    model, prompt = a_model(serve="v7", revision=9), a_flag("r.prompt", serve="v7", revision=3)

    assert brake_of("r", [model, prompt], {}, pins={Layer.MODEL: "v7"}) is model


def test_refuses_where_no_flag_has_anything_to_go_back_from() -> None:
    assert not has_way_back(a_flag("r.prompt"))
    with pytest.raises(Refused, match=r"r\.prompt") as refused:
        brake_of("r", [a_flag("r.prompt")], {})

    assert refused.value.rule == "nothing_to_roll_back"
