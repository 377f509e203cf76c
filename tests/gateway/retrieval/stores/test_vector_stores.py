"""OpenAI's search: what is sent, and pages from stores that keep to its format more or less."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import UpstreamGarbled
from gateway.index.passage import Passage
from gateway.retrieval.stores.embeddings import embedding_body, embedding_head, length_of, vector_in
from gateway.retrieval.stores.vector_stores import page, passages_in, search_body, search_tail


def test_a_search_says_no_more_than_the_version_does() -> None:
    assert search_body('é"', search_tail(3, None, None)) == '{"query":"é\\"","max_num_results":3}'.encode()


def one(**fields: Any) -> Passage:
    (only,) = passages_in(
        msgspec.json.encode({"data": [{"content": [{"type": "text", "text": "x"}], **fields}]})
    )
    return only


def test_what_a_store_leaves_out_is_empty() -> None:
    assert one() == Passage("", "", 0.0, "x", {})
    assert one(file_id=None, filename=None, score=None, attributes=None) == Passage("", "", 0.0, "x", {})


def test_texts_of_one_result_are_its_paragraphs_and_pictures_none() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image", "text": "no"}, {"type": "text", "text": "b"}]

    assert one(content=parts).text == "a\n\nb"


def test_attributes_of_other_types_are_left_out() -> None:
    assert one(attributes={"a": 1, "b": "x", "c": None, "d": [1], "e": {}, "f": True}).attributes == {
        "a": 1, "b": "x", "f": True,
    }  # fmt: skip


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"error":{"message":"x"}}', b'{"data":{}}', b'{"data":[{}]}', b"<html>", b'{"data":[' * 9000]
)  # fmt: skip
def test_what_is_no_page_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        passages_in(body)


@given(
    st.lists(
        st.builds(
            Passage,
            st.text(max_size=5),
            st.text(max_size=5),
            st.floats(-9, 9),
            st.text(min_size=1),
            st.dictionaries(
                st.text(max_size=3), st.one_of(st.text(max_size=3), st.booleans(), st.integers(-9, 9))
            ),
        ),
        max_size=4,
    )
)
def test_our_own_page_is_one_that_we_read(passages: list[Passage]) -> None:
    assert passages_in(page(["q"], passages)) == passages


def test_a_vector_goes_on_as_the_bytes_that_came() -> None:
    body = b'{"object":"list","data":[{"index":0,"embedding":[0.10, 2e-3 ]}]}'

    vector = vector_in(body)

    assert (bytes(vector), length_of(vector)) == (b"[0.10, 2e-3 ]", 2)
    assert msgspec.json.decode(embedding_body(embedding_head("e3"), "hi")) == {
        "model": "e3",
        "input": "hi",
        "encoding_format": "float",
    }


@pytest.mark.parametrize(
    "body", [b"", b"{}", b'{"data":[]}', b'{"data":[{}]}', b'{"data":[{"embedding":"AAAA"}]}', b'{"data":[{"embedding":null}]}']
)  # fmt: skip
def test_what_holds_no_vector_is_garbled(body: bytes) -> None:
    with pytest.raises(UpstreamGarbled):
        vector_in(body)


def test_a_vector_of_words_has_no_length() -> None:
    with pytest.raises(UpstreamGarbled):
        length_of(msgspec.Raw(b'["a"]'))
