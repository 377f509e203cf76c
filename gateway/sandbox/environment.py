"""Jinja's sandbox, rewritten so that nothing runs unmetered. Knows Jinja's syntax tree, and no prompt.

Jinja's own sandbox keeps templates away from Python's insides, and lets them take all the memory and
time there is. Here every loop pays, every operator and filter that can make something large is a
guarded one, and attributes and calls are a list of what exists instead of a list of what is bad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from difflib import get_close_matches

from jinja2 import StrictUndefined, TemplateSyntaxError, Undefined, nodes, pass_context
from jinja2.lexer import Token, TokenStream
from jinja2.runtime import LoopContext, Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from gateway.sandbox import operators
from gateway.sandbox.filters import FILTERS, TESTS, Group, MeteredContext, metered
from gateway.sandbox.meter import Meter, kind_of
from gateway.sandbox.methods import METHODS, Method
from gateway.sandbox.operators import Value, text

# A template of so many tokens compiles in some 100 ms; the largest prompts seen in the wild have a few hundred.
TOKENS_MAX = 6_000
RANGE_MAX = 10_000
LOOP_FACTS = frozenset(
    {
        "index",
        "index0",
        "revindex",
        "revindex0",
        "first",
        "last",
        "length",
        "depth",
        "depth0",
        "previtem",
        "nextitem",
    }
)
_REFUSED: Mapping[type[nodes.Node], str] = {
    nodes.Include: "include",
    nodes.Import: "import",
    nodes.FromImport: "import",
    nodes.Extends: "extends",
    nodes.Block: "block",
    nodes.ScopedEvalContextModifier: "autoescape",
}
_BINARY: Mapping[str, Callable[[Meter, Value, Value], Value]] = {
    "+": operators.add,
    "*": operators.multiply,
    "**": operators.power,
    "%": operators.modulo,
}


class Missing(StrictUndefined):
    """An undefined value: any use but `is defined` and `default` is an error."""

    __slots__ = ()


def _bounded_range(*bounds: int) -> range:
    numbers = range(*bounds)
    if len(numbers) > RANGE_MAX:
        raise ValueError(f"a range has {RANGE_MAX} numbers at most")
    return numbers


def _mapping(**values: Value) -> dict[str, Value]:
    return values


def _namespace(**values: Value) -> Namespace:
    return Namespace(values)


@pass_context
def _printed(context: MeteredContext, value: Value) -> str:
    return text(context.meter, value)


def _tick(meter: Meter, weight: int, chars: int) -> bool:
    meter.charge(weight, chars)
    return True


class Sandbox(ImmutableSandboxedEnvironment):
    """The environment of all prompt templates: text, not HTML; strict about what is undefined; metered."""

    intercepted_binops = frozenset(_BINARY)
    context_class = MeteredContext

    def __init__(self) -> None:
        super().__init__(
            autoescape=False,
            undefined=Missing,
            keep_trailing_newline=True,
            optimized=False,
            finalize=_printed,
            cache_size=0,
        )
        self.globals = {"range": _bounded_range, "dict": _mapping, "namespace": _namespace}
        self.filters = dict(FILTERS) | {
            "(tick)": metered(_tick),
            "(concat)": metered(operators.concat),
            "(cut)": metered(operators.cut),
            "(key)": metered(operators.key),
            "(touch)": metered(operators.touched),
        }
        self.tests = dict(TESTS)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        metering = _Metering()
        metering.visit(tree)
        tree.body.insert(0, metering.tick(tree.body, 1))
        return tree

    def _tokenize(
        self, source: str, name: str | None, filename: str | None = None, state: str | None = None
    ) -> TokenStream:
        stream = super()._tokenize(source, name, filename, state)
        return TokenStream(_counted(stream), name, filename)

    def call_binop(self, context: MeteredContext, operator: str, left: Value, right: Value) -> Value:  # type: ignore[override]
        return _BINARY[operator](context.meter, left, right)

    def getattr(self, obj: Value, attribute: str) -> Value:
        """A listed method, an entry of a mapping, or a fact of a loop, group or namespace; all else is undefined."""
        kind = type(obj)
        if attribute in METHODS.get(kind, ()):
            return Method(obj, attribute)
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        if isinstance(obj, Undefined):
            return getattr(obj, "name")  # noqa: B009  # raises, naming what is undefined
        listed = (
            (kind is LoopContext and attribute in LOOP_FACTS)
            or (kind is Group and attribute in Group._fields)
            or (kind is Namespace and not attribute.startswith("_"))
        )
        if listed and hasattr(obj, attribute):
            return getattr(obj, attribute)
        return self.undefined(obj=obj, name=attribute)

    def getitem(self, obj: Value, argument: Value) -> Value:
        """An element, else what `getattr` finds."""
        if isinstance(obj, Undefined):
            str(obj)
        if not isinstance(argument, (str, int, float, type(None))):
            raise TypeError(f"{kind_of(argument)} cannot be an index")
        if isinstance(obj, (dict, list, tuple, str, range)):
            try:
                return obj[argument]  # type: ignore[index]
            except (TypeError, LookupError):
                pass
        if isinstance(argument, str):
            return self.getattr(obj, argument)
        return self.undefined(obj=obj, name=str(argument))

    def call(self, context: MeteredContext, obj: Value, /, *args: Value, **kwargs: Value) -> Value:  # type: ignore[override]
        meter = context.meter
        meter.charge(1 + len(args) + len(kwargs))
        if isinstance(obj, Method):
            return obj.invoke(meter, args, kwargs)
        if isinstance(obj, (Macro, LoopContext)) or obj in self.globals.values():
            made = context.call(obj, *args, **kwargs)  # type: ignore[arg-type]
            if isinstance(made, str):
                meter.charge(0, len(made))
            return made
        if isinstance(obj, Undefined):
            str(obj)
        raise TypeError(f"{kind_of(obj)} cannot be called")


def _counted(stream: TokenStream) -> Iterator[Token]:
    for count, token in enumerate(stream):
        if count > TOKENS_MAX:
            raise TemplateSyntaxError(f"the template has more than {TOKENS_MAX} tokens", token.lineno)
        yield token


class _Metering(NodeTransformer):
    """Puts the meter into a syntax tree, and refuses what prompts have no use for."""

    def __init__(self) -> None:
        self._steps: Mapping[type[nodes.Node], Callable[..., nodes.Node]] = {
            nodes.Macro: self._with_tick,
            nodes.CallBlock: self._with_tick,
            nodes.For: self._for,
            nodes.Concat: self._concat,
            nodes.Getitem: self._getitem,
            nodes.Pair: self._pair,
            nodes.Compare: self._compare,
            nodes.Name: self._name,
            nodes.Filter: self._filter,
            nodes.Test: self._test,
        }

    def visit(self, node: nodes.Node, *args: Value, **kwargs: Value) -> Value:
        refused = _REFUSED.get(type(node))
        if refused:
            message = f"{{% {refused} %}} is not available in prompts: a version is one text"
            raise TemplateSyntaxError(message, node.lineno)
        step = self._steps.get(type(node))
        return step(node) if step else self.generic_visit(node, *args, **kwargs)

    def tick(self, body: list[nodes.Node], lineno: int) -> nodes.Node:
        return nodes.ExprStmt(_ticking(body, lineno), lineno=lineno)

    def _with_tick(self, node: nodes.For | nodes.Macro | nodes.CallBlock) -> nodes.Node:
        weighed = self.tick(node.body, node.lineno)
        self.generic_visit(node)
        node.body.insert(0, weighed)
        return node

    def _for(self, node: nodes.For) -> nodes.Node:
        self._with_tick(node)
        if node.test is not None:
            node.test = nodes.And(_ticking([node.test], node.lineno), node.test, lineno=node.lineno)
        return node

    def _concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        first, *rest = node.nodes
        return _guarded("(concat)", first, *rest)

    def _getitem(self, node: nodes.Getitem) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.arg, nodes.Slice):
            return node
        bounds = (node.arg.start, node.arg.stop, node.arg.step)
        return _guarded(
            "(cut)", node.node, *(bound or nodes.Const(None, lineno=node.lineno) for bound in bounds)
        )

    def _pair(self, node: nodes.Pair) -> nodes.Node:
        self.generic_visit(node)
        if not isinstance(node.key, nodes.Const):
            node.key = _guarded("(key)", node.key)
        return node

    def _compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        node.expr = _touching(node.expr)
        for operand in node.ops:
            operand.expr = _touching(operand.expr)
        return node

    def _name(self, node: nodes.Name) -> nodes.Node:
        if node.name == "self":
            raise TemplateSyntaxError("`self` is not available in prompts", node.lineno)
        return node

    def _filter(self, node: nodes.Filter) -> nodes.Node:
        return self._listed(node, "filter", FILTERS)

    def _test(self, node: nodes.Test) -> nodes.Node:
        return self._listed(node, "test", TESTS)

    def _listed(self, node: nodes.Filter | nodes.Test, what: str, known: Mapping[str, object]) -> nodes.Node:
        self.generic_visit(node)
        if node.name not in known:
            near = get_close_matches(node.name, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f" ({what}s: {', '.join(sorted(known))})"
            raise TemplateSyntaxError(f"there is no {what} {node.name!r} here{hint}", node.lineno)
        return node


def _guarded(name: str, first: nodes.Expr, *rest: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(first, name, list(rest), [], None, None, lineno=first.lineno)


def _touching(node: nodes.Expr) -> nodes.Expr:
    return node if isinstance(node, nodes.Const) else _guarded("(touch)", node)


def _ticking(body: list[nodes.Node], lineno: int) -> nodes.Filter:
    """Pays for one run of `body`: a step, one more for every 16 nodes, and the text that stands in it."""
    inside = [node for part in body for node in (part, *part.find_all(nodes.Node))]
    chars = sum(len(node.data) for node in inside if isinstance(node, nodes.TemplateData))
    return _guarded(
        "(tick)", nodes.Const(1 + len(inside) // 16, lineno=lineno), nodes.Const(chars, lineno=lineno)
    )
