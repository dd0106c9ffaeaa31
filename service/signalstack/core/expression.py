"""JMESPath over an event, with every failure as one error, and steps that are paid for."""

from __future__ import annotations

from collections.abc import Sized
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast

import msgspec
from jmespath import ast, functions, parser, visitor

if TYPE_CHECKING:
    from signalstack.core.budget import Budget
    from signalstack.core.document import Json

MAX_EXPRESSION: Final = 1_000

# A node of JMESPath's syntax tree: type, value, children.
_Node: TypeAlias = dict[str, Any]

# Nodes whose outcome is new, rather than a part of what was there before.
_MAKERS: Final = frozenset(
    {
        "filter_projection",
        "flatten",
        "function_expression",
        "multi_select_dict",
        "multi_select_list",
        "projection",
        "slice",
        "value_projection",
    }
)
# What an interpreter that trusts its input may stumble over: [::0], ceil(`1e999`), ((((((…
_FAILURES: Final = (
    ValueError,  # all of JMESPath's own errors among them
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    RecursionError,
)
_MAX_MESSAGE: Final = 200


class ExpressionError(Exception):
    """An expression is malformed, or met what it cannot take; a short sentence."""


class Parsed(msgspec.Struct, frozen=True):
    """An expression that was checked; `path` are its fields where it is nothing but `a.b.c`."""

    tree: _Node
    path: tuple[str, ...] | None


def parse(expression: str) -> Parsed:
    """Parse an expression.

    Raises:
        ExpressionError: it is malformed, too long, or calls a function that does not exist.
    """
    if len(expression) > MAX_EXPRESSION:
        raise ExpressionError(f"must not exceed {MAX_EXPRESSION} characters")
    try:
        tree = cast("_Node", parser.Parser().parse(expression).parsed)
        _check_functions(tree)
        return Parsed(tree, _path(tree))
    except _FAILURES as error:
        raise ExpressionError(_sentence(error)) from None


class Run:
    """Evaluates expressions over one event, on one budget."""

    def __init__(self, event: Json, budget: Budget) -> None:
        self._event = event
        self._budget = budget

    def evaluate(self, parsed: Parsed) -> Json:
        """Find what an expression says; None when there is nothing.

        Raises:
            ExpressionError: it met what it cannot take.
            CostError: it takes more steps than there are.
        """
        if parsed.path is not None:
            found = self._walk(parsed.path)
        else:
            try:
                found = self._interpreter.visit(parsed.tree, self._event)
            except _FAILURES as error:
                raise ExpressionError(_sentence(error)) from None
        self._budget.pay_for(found)
        return found

    def _walk(self, path: tuple[str, ...]) -> Json:
        """Do what the interpreter does with a path, as most expressions are, in half the time."""
        self._budget.pay(len(path))
        found = self._event
        for name in path:
            found = found.get(name) if isinstance(found, dict) else None
        return found

    @cached_property
    def _interpreter(self) -> _Interpreter:
        return _Interpreter(self._budget)


class _Functions(functions.Functions):
    """JMESPath's functions; their arguments are paid for before they are looked at."""

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget

    def call_function(self, function_name: str, resolved_args: Any) -> Any:
        self._budget.pay_for(resolved_args)
        if function_name == "join":
            self._pay_for_join(*resolved_args)
        return super().call_function(function_name, resolved_args)

    def _pay_for_join(self, separator: object = "", parts: object = "", *_: object) -> None:
        # The one function whose outcome outgrows its arguments; their types are not checked yet.
        if isinstance(separator, str) and isinstance(parts, Sized):
            self._budget.pay_for_text(len(separator) * len(parts))


class _Interpreter(visitor.TreeInterpreter):
    """JMESPath's interpreter; visits, comparisons and new values are paid for."""

    def __init__(self, budget: Budget) -> None:
        super().__init__(visitor.Options(custom_functions=_Functions(budget)))
        self.budget = budget

    def visit(self, node: Any, *args: Any, **kwargs: Any) -> Any:
        self.budget.pay(1)
        outcome = super().visit(node, *args, **kwargs)
        if node["type"] in _MAKERS:
            self.budget.pay_for(outcome)
        return outcome

    def visit_comparator(self, node: Any, value: Any) -> Any:
        sides = [self.visit(child, value) for child in node["children"]]
        self.budget.pay_for(sides)
        known: Any = ast.comparator(node["value"], *(ast.literal(side) for side in sides))
        return super().visit_comparator(known, value)


def _path(node: _Node) -> tuple[str, ...] | None:
    if node["type"] == "field":
        return (node["value"],)
    if node["type"] != "subexpression":
        return None
    parts = [_path(child) for child in node["children"]]
    return None if None in parts else tuple(name for part in parts if part for name in part)


def _check_functions(node: _Node) -> None:
    if node["type"] == "function_expression" and node["value"] not in _Functions.FUNCTION_TABLE:
        raise ExpressionError(f"there is no function {node['value']}()")
    for child in node.get("children", ()):
        if isinstance(child, dict):
            _check_functions(cast("_Node", child))


def _sentence(error: Exception) -> str:
    if isinstance(error, RecursionError):
        return "nests too deep"
    first_line = str(error).partition("\n")[0].removesuffix(", for expression:").rstrip(":")
    return (first_line or type(error).__name__)[:_MAX_MESSAGE]
