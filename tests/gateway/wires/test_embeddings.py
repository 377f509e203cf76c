"""Embeddings: only the model is decided, and everything else goes and comes as it is."""

from __future__ import annotations

import pytest

from flags.model import Context, Layer
from gateway.decision import Asked
from gateway.errors import BadRequest
from gateway.route import decide
from gateway.wires.embeddings import Embeddings
from tests.gateway.builders import serving
from tests.gateway.wires.asking import asked, prompt, sent, sent_bytes

WIRE = Embeddings()


def test_the_prompt_layer_is_neither_resolved_nor_named() -> None:
    served = serving()
    decision = decide(served, served.routes["support-bot"], Asked(Context("u"), {}, 0, WIRE.layers))

    assert [chosen.layer for chosen in decision.layers] == [Layer.MODEL]
    assert decision.versions == "model=gpt-4.1"
    assert sent(WIRE, prompt(("system", "x")), input="Hi") == {"model": "gpt-4.1", "input": "Hi"}


@pytest.mark.parametrize("given", [b'"Hi"', b'["a", "b"]', b"[1, 2]", b"[[1],[2]]", b"null"])
def test_the_input_goes_as_it_came(given: bytes) -> None:
    raw = b'{"model":"support-bot","input":%b,"encoding_format":"base64"}' % given

    assert b'"input":%b,"encoding_format":"base64"' % given in sent_bytes(WIRE, raw)


def test_parameters_of_a_chat_stay_away() -> None:
    model = {"params": {"temperature": 0.2, "max_tokens": 5, "dimensions": 64}}

    assert sent(WIRE, None, model, input="x") == {"model": "gpt-4.1", "input": "x", "dimensions": 64}


def test_it_may_be_asked_again_and_never_streams() -> None:
    ask = asked(WIRE, input="x", stream="yes")

    assert WIRE.replayable(ask)
    assert not ask.stream


def test_a_route_must_be_named() -> None:
    with pytest.raises(BadRequest, match="model: missing"):
        WIRE.read(b'{"input": "x"}')
