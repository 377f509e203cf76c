"""The tests' own upstream: the official SDKs read what it says, and its bad days are as bad as they are named."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import anthropic
import openai
import pytest

from tests.scripted_upstream import ScriptedUpstream, error_answer, scripted_upstream_in_thread
from tests.scripted_wires import BAD_DAYS, CHAT, MESSAGES, RESPONSES, WIRES, Wire

ASKED = [{"role": "user", "content": "x"}]


@pytest.fixture(scope="module")
def upstream() -> Iterator[ScriptedUpstream]:
    with scripted_upstream_in_thread() as server:
        yield server


@pytest.fixture(scope="module")
def openais(upstream: ScriptedUpstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=upstream.base_url, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def anthropics(upstream: ScriptedUpstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=upstream.address, api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture
def text_of(openais: openai.OpenAI, anthropics: anthropic.Anthropic) -> Callable[[Wire], str]:
    """The text of a stream, as the wire's own SDK reads it to its end."""

    def read(wire: Wire) -> str:
        if wire is CHAT:
            chunks = openais.chat.completions.create(model="m", messages=ASKED, stream=True)
            return "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
        if wire is RESPONSES:
            events = openais.responses.create(model="m", input="x", stream=True)
            return "".join(event.delta for event in events if event.type == "response.output_text.delta")
        events = anthropics.messages.create(model="m", max_tokens=9, messages=ASKED, stream=True)
        return "".join(event.delta.text for event in events if event.type == "content_block_delta")

    return read


def test_a_scripted_error_is_one_to_the_sdk(upstream: ScriptedUpstream, openais: openai.OpenAI) -> None:
    upstream.will(error_answer(429, retry_after=1))

    with pytest.raises(openai.RateLimitError):
        openais.chat.completions.create(model="m", messages=ASKED)
    assert upstream.requests[-1].json["model"] == "m"
    assert upstream.requests[-1].headers["authorization"] == "Bearer k"


def test_whole_answers_are_good_by_default(openais: openai.OpenAI, anthropics: anthropic.Anthropic) -> None:
    chat = openais.chat.completions.create(model="m", messages=ASKED)
    response = openais.responses.create(model="m", input="x")
    message = anthropics.messages.create(model="m", max_tokens=9, messages=ASKED)

    said = [chat.choices[0].message.content, response.output_text, message.content[0].text]
    assert said == ["scripted"] * 3
    assert [response.usage.output_tokens, message.usage.input_tokens] == [1, 7]


def test_streams_are_good_by_default(openais: openai.OpenAI, anthropics: anthropic.Anthropic) -> None:
    """The SDKs' own accumulators take them."""
    with openais.chat.completions.stream(model="m", messages=ASKED) as chat:
        completion = chat.get_final_completion()
    with openais.responses.stream(model="m", input="x") as events:
        response = events.get_final_response()
    with anthropics.messages.stream(model="m", max_tokens=9, messages=ASKED) as stream:
        message = stream.get_final_message()

    said = [completion.choices[0].message.content, response.output_text, message.content[0].text]
    assert said == ["scripted answer"] * 3
    assert [response.usage.output_tokens, message.usage.output_tokens] == [2, 2]


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.path)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("usage_on_content", "one two three"),
        ("repeated_ids", "one two three"),
        ("without_last_event", "one two three"),
        ("split_characters", "Grüße aus Köln 🎈"),
        ("closed_early", "one two three"),
    ],
)
def test_bad_days_that_a_patient_reader_does_not_notice(
    upstream: ScriptedUpstream, text_of: Callable[[Wire], str], wire: Wire, name: str, text: str
) -> None:
    upstream.will(BAD_DAYS[name](wire))

    assert text_of(wire) == text


@pytest.mark.parametrize("wire", [CHAT, MESSAGES], ids=lambda wire: wire.path)
@pytest.mark.parametrize("name", ["error_before_text", "error_after_text"])
def test_an_error_within_a_stream_is_raised_by_the_sdk(
    upstream: ScriptedUpstream, text_of: Callable[[Wire], str], wire: Wire, name: str
) -> None:
    upstream.will(BAD_DAYS[name](wire))

    with pytest.raises((openai.APIError, anthropic.APIError), match="scripted"):
        text_of(wire)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.path)
def test_a_stream_without_its_framings_end_is_broken(
    upstream: ScriptedUpstream, text_of: Callable[[Wire], str], wire: Wire
) -> None:
    upstream.will(BAD_DAYS["closed_unframed"](wire))

    with pytest.raises(Exception, match="peer closed"):
        text_of(wire)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.path)
def test_characters_are_really_split(wire: Wire) -> None:
    script = BAD_DAYS["split_characters"](wire)
    chunks = [step for step in script.steps if isinstance(step, bytes)]

    assert sum(chunk.split(b"\r\n")[1][:1] >= b"\x80" for chunk in chunks) > 5


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.path)
def test_every_bad_day_can_be_had_on_every_wire(wire: Wire) -> None:
    assert all(day(wire).steps for day in BAD_DAYS.values())
