"""A case made ready to be asked: its messages, and its assertions with the variables filled in. Knows no template language."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from flags.errors import FlagError
from flags.model import Json
from policies.evals.case import Assertion, Case, code_in, shown
from policies.evals.suite import Suite

# The variables that hold the question, in this order, where the suite has no prompt; else the only text among them.
QUESTION_NAMES = ("question", "input", "query", "message", "prompt")
ROLES = frozenset({"system", "user", "assistant"})
_MEND = "give the suite a prompt, or the case a variable `question`"
# A template's text and its variables → the text. Raises Unrenderable.
Render: TypeAlias = Callable[[str, Mapping[str, Json]], str]


class Unrenderable(FlagError):
    """Raised by a Render for a template that does not compile or render. The case is not evaluated."""


class NotAsked(FlagError):
    """Raised when a case cannot be asked: it has no question, or needs what is lacking here. It is not evaluated."""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of the chat that a case asks; `role` is system, user or assistant."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """A case to be asked. `variables` are the app's (prompt_variables); `asserts` are rendered."""

    case: Case
    messages: tuple[Message, ...]
    variables: Mapping[str, Json]
    asserts: tuple[Assertion, ...]

    @property
    def text(self) -> str:
        """What the user asks: the last message of theirs."""
        return next((each.content for each in reversed(self.messages) if each.role == "user"), "")


def question_of(case: Case, suite: Suite, render: Render) -> Question:
    """What is asked for a case: the suite's first prompt, else the variable that holds the question.

    Raises NotAsked, whose message names what is lacking.
    """
    lacking = [*case.lacks, *(each for found in case.asserts for each in _lacks(found))]
    if lacking:
        raise NotAsked(f"not evaluated here: {', '.join(dict.fromkeys(lacking))}")
    try:
        variables = {name: _filled(value, case.vars, render) for name, value in case.vars.items()}
        messages = _messages(case, suite, variables, render)
        asserts = tuple(_rendered(each, variables, render) for each in case.asserts)
    except Unrenderable as error:
        raise NotAsked(f"a template does not render: {error.message}", mend=error.mend) from None
    if not any(each.role == "user" and each.content.strip() for each in messages):
        raise NotAsked("no question: no message of the user says anything", mend=_MEND)
    return Question(case, messages, variables, asserts)


def _lacks(assertion: Assertion) -> Iterator[str]:
    if assertion.lacks:
        yield assertion.lacks
    for each in assertion.asserts:
        yield from _lacks(each)


def _messages(case: Case, suite: Suite, variables: Mapping[str, Json], render: Render) -> tuple[Message, ...]:
    prompt = suite.prompt
    if prompt is None:
        return (Message("user", f"{case.prefix}{_asked(variables)}{case.suffix}"),)
    if isinstance(prompt, str):
        code = code_in(prompt)
        if code:
            raise NotAsked(f"the prompt {shown(code)} is code, which is not run")
        chat = _chat(prompt)
        if chat is None:
            text = _filled(f"{case.prefix}{prompt}{case.suffix}", variables, render)
            return _parsed(_chat(str(text))) or (Message("user", str(text)),)
        prompt = chat
    found = _parsed(_filled(prompt, variables, render))
    if not found:
        raise NotAsked("the prompt is neither a text nor a chat of system, user and assistant", mend=_MEND)
    return found


def _asked(variables: Mapping[str, Json]) -> str:
    """What the user asks, where the suite has no prompt of its own."""
    for name in QUESTION_NAMES:
        found = variables.get(name)
        if isinstance(found, str):
            return found
    texts = [each for each in variables.values() if isinstance(each, str)]
    if len(texts) != 1:
        raise NotAsked("no question: the suite has no prompt, and no variable is the question", mend=_MEND)
    return texts[0]


def _chat(text: str) -> Json:
    """The chat that a prompt's text holds as JSON; None where it is plain text."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found: Json = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if _parsed(found) else None


def _parsed(found: Json) -> tuple[Message, ...]:
    """The messages in a list of {role, content}; none where one of them is something else."""
    if isinstance(found, (str, Mapping)) or not isinstance(found, Sequence):
        return ()
    messages = []
    for each in found:
        role, content = (each.get("role"), each.get("content")) if isinstance(each, Mapping) else (None, None)
        if not isinstance(role, str) or role not in ROLES or not isinstance(content, str):
            return ()
        messages.append(Message(role, content))
    return tuple(messages)


def _rendered(assertion: Assertion, variables: Mapping[str, Json], render: Render) -> Assertion:
    return replace(
        assertion,
        value=_filled(assertion.value, variables, render),
        context=_filled(assertion.context, variables, render),
        asserts=tuple(_rendered(each, variables, render) for each in assertion.asserts),
    )


def _filled(value: Json, variables: Mapping[str, Json], render: Render) -> Json:
    """A value whose texts have the variables filled in, however deep they stand."""
    if isinstance(value, str):
        return render(value, variables) if "{{" in value or "{%" in value else value
    if isinstance(value, Mapping):
        return {name: _filled(each, variables, render) for name, each in value.items()}
    if isinstance(value, Sequence):
        return [_filled(each, variables, render) for each in value]
    return value
