"""What the rulebook's sections say about themselves: who is told, and by what. Knows specs; reads no file, writes nothing.

Each check yields Invalid with the path from the file's root; shapes are right already.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from types import MappingProxyType

from flags.errors import Invalid
from gateway.config.checks import url_problems
from gateway.content import SECRET_REFERENCE
from gateway.notices.channel import MOST_SECONDS
from gateway.spec_base import EVERY_NAME
from gateway.spec_rulebook import NotifySpec
from gateway.template import TemplateInvalid, compile_template
from policies.notices.event import EventKind

_WEB = frozenset({"url"})
_MAIL = frozenset({"host", "port", "tls", "user", "password", "sender", "to"})
# Which fields a channel of a kind has a use for, besides those that all have.
_FIELDS_OF: Mapping[str, frozenset[str]] = MappingProxyType(
    {"slack": _WEB, "cloudevents": _WEB | {"secret"}, "email": _MAIL, "stdout": frozenset()}
)
_NEEDED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"slack": ("url",), "cloudevents": ("url",), "email": ("host", "sender", "to"), "stdout": ()}
)
# An address as it stands in a mail's envelope; what else RFC 5322 allows, nobody has.
ADDRESS = re.compile(r"[^\s@<>,;:\"\\\x00-\x1f]+@[^\s@<>,;:\"\\\x00-\x1f]+")
# What events may be named: all but the test, which goes where it is sent.
EVENTS = tuple(kind.value for kind in EventKind if kind is not EventKind.TEST)


def notify_problems(name: str, spec: NotifySpec, routes: Collection[str]) -> Iterator[Invalid]:
    """A channel that cannot tell anybody, whose secret stands in plain text, or that waits for what never happens."""
    path = f"notify.{name}"
    usual = NotifySpec(spec.kind)
    for field in sorted((_WEB | _MAIL | {"secret"}) - _FIELDS_OF[spec.kind]):
        if getattr(spec, field) != getattr(usual, field):
            yield Invalid(
                f"{path}.{field}", f"a channel of kind {spec.kind} has no `{field}`", mend="remove it"
            )
    for field in _NEEDED[spec.kind]:
        if not getattr(spec, field):
            yield Invalid(
                path, f"`{field}` is missing", mend=f"add {field}: a channel of kind {spec.kind} needs it"
            )
    yield from _url_problems(path, spec)
    yield from _mail_problems(path, spec)
    for index, event in enumerate(spec.events):
        if event not in EVENTS:
            yield Invalid(
                f"{path}.events[{index}]", f"event {event!r} is not known (events: {', '.join(EVENTS)})"
            )
    for index, route in enumerate(spec.routes):
        if route not in routes and route != EVERY_NAME:
            known = ", ".join(sorted(routes)) or "none"
            yield Invalid(f"{path}.routes[{index}]", f"route {route!r} is not defined (routes: {known})")
    if spec.timeout_seconds > MOST_SECONDS:
        message = f"expected {MOST_SECONDS:g} seconds at most, found {spec.timeout_seconds:g}"
        yield Invalid(f"{path}.timeout_seconds", message, mend="a notice that fails is tried again for a day")
    if spec.template is not None:
        try:
            compile_template(spec.template)
        except TemplateInvalid as error:
            yield Invalid(f"{path}.template", str(error), mend=error.mend)


def _url_problems(path: str, spec: NotifySpec) -> Iterator[Invalid]:
    """An address that is none, or that is a secret in plain text."""
    if spec.url is None or SECRET_REFERENCE.fullmatch(spec.url):
        return
    if spec.kind == "slack":
        message = "a Slack address is a secret and stands here in plain text"
        yield Invalid(f"{path}.url", message, mend="write os.environ/NAME or file:/path")
    elif spec.kind == "cloudevents":
        yield from url_problems(f"{path}.url", spec.url)


def _mail_problems(path: str, spec: NotifySpec) -> Iterator[Invalid]:
    if spec.kind != "email":
        return
    named = [("sender", spec.sender), *((f"to[{index}]", each) for index, each in enumerate(spec.to))]
    for field, address in named:
        if address is not None and not ADDRESS.fullmatch(address):
            yield Invalid(
                f"{path}.{field}", f"{address[:80]!r} is no mail address", mend="write name@example.org"
            )
    if (spec.user is None) != (spec.password is None):
        yield Invalid(path, "`user` and `password` go together", mend="add the other, or remove both")
    if spec.password is not None and spec.tls == "none":
        message = "a password would be sent in plain text"
        yield Invalid(f"{path}.tls", message, mend="use starttls or tls, or leave user and password out")
