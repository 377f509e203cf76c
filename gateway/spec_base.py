"""What the documents that people write are made of: names, times, secrets, and the base of all their shapes."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

Seconds: TypeAlias = Annotated[float, Meta(gt=0, le=86_400, description="seconds")]
# To Python, `$` is also just before a line's end that comes last; to JSON Schema it is not.
Name: TypeAlias = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$(?!\n)")]
# The route of all names that are no route.
EVERY_NAME = "*"
RouteName: TypeAlias = Annotated[str, Meta(pattern=r"^([*]|[A-Za-z0-9][A-Za-z0-9._-]{0,127})$(?!\n)")]
# A secret is only ever a reference; it is resolved in the worker, never stored or logged.
SecretRef: TypeAlias = Annotated[
    str,
    Meta(
        pattern=r"^(os\.environ/.+|file:/.+)$",
        description="os.environ/NAME or file:/path, never the secret itself",
    ),
]


class Spec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of all: immutable, and a field that we do not know is an error."""


class Target(Spec, frozen=True):
    """An upstream and the name by which it knows a model."""

    upstream: Name
    model: str
