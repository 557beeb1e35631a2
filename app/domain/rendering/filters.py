"""The filters, tests and operators that templates may use, each within the budget of its rendering."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

from jinja2 import pass_context
from jinja2.filters import FILTERS, do_round, do_sum, do_tojson
from jinja2.runtime import Context, Undefined, markup_join, str_join
from jinja2.tests import TESTS

from app.domain.rendering.budget import STEP, Budget, OverLimit, bounded, bounded_entries, size

#: Those whose work doesn't grow with what they are given.
_LIGHT = "count d default first items last length list reject rejectattr reverse safe select selectattr"
_PLAIN = """
    abs capitalize dictsort e escape filesizeformat float forceescape groupby int lower map max min sort string
    striptags title trim truncate unique upper urlencode wordcount
"""
_LIGHT_TESTS = "boolean defined false mapping none number sequence string true undefined"
_NO_TESTS = "callable escaped filter sameas test"
_MOST_WIDTH = 200
_MOST_PARTS = 1000
_MOST_BITS = 4096
_MOST_DIGITS = 20

_DIRECTIVE = re.compile(r"%(?:\([^)]*\))?(?P<form>[^a-zA-Z%]*)")


class BudgetedContext(Context):
    """A rendering's variables, and the work that is left to it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.budget = Budget()


def budget_of(context: Context) -> Budget:
    return cast(BudgetedContext, context).budget


# --- filters that could grow, bounded before they do -------------------------------------------------------------


def _join(context: Context, value: Any, d: str = "", attribute: str | int | None = None) -> Any:
    entries = bounded_entries(value)
    bounded(size(entries) + len(str(d)) * len(entries))
    return FILTERS["join"](context.eval_ctx, entries, d, attribute)


def _replace(context: Context, s: str, old: str, new: str, count: int | None = None) -> Any:
    text, old, new = str(s), str(old), str(new)
    places = text.count(old) if count is None else min(text.count(old), max(count, 0))
    bounded(len(text) + places * len(new))
    return FILTERS["replace"](context.eval_ctx, s, old, new, count)


def _center(context: Context, value: str, width: int = 80) -> Any:
    if width > _MOST_WIDTH:
        raise OverLimit(f"centers in more than {_MOST_WIDTH}")
    return FILTERS["center"](value, width)


def _format(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
    return formatted(value, kwargs or args)


def formatted(text: Any, args: Any) -> Any:
    """``text % args`` with widths that a message can need."""
    places = 0
    for directive in _DIRECTIVE.finditer(str(text)):
        places += 1
        if "*" in directive["form"] or any(int(n) > _MOST_WIDTH for n in re.findall(r"\d{1,9}", directive["form"])):
            raise OverLimit(f"formats wider than {_MOST_WIDTH}")
    bounded(len(str(text)) + places * (size(args) + _MOST_WIDTH))
    return text % args


def _batch(context: Context, value: Any, linecount: int, fill_with: Any = None) -> Any:
    return FILTERS["batch"](value, _parts(linecount), fill_with)


def _slice(context: Context, value: Any, slices: int, fill_with: Any = None) -> Any:
    return FILTERS["slice"](value, _parts(slices), fill_with)


def _parts(number: int) -> int:
    if number > _MOST_PARTS:
        raise OverLimit(f"makes more than {_MOST_PARTS} parts")
    return number


def _round(context: Context, value: float, precision: int = 0, method: Any = "common") -> float:
    if abs(precision) > _MOST_DIGITS:
        raise OverLimit(f"rounds to more than {_MOST_DIGITS} digits")
    return do_round(value, precision, method)


def _sum(context: Context, iterable: Any, attribute: str | int | None = None, start: float = 0) -> Any:
    if not isinstance(start, int | float):
        raise OverLimit("sums what isn't numbers")
    return do_sum(context.environment, iterable, attribute, start)


def _tojson(context: Context, value: Any) -> Any:
    return do_tojson(context.eval_ctx, value)


_BOUNDED: dict[str, Callable[..., Any]] = {
    "join": _join,
    "replace": _replace,
    "center": _center,
    "format": _format,
    "batch": _batch,
    "slice": _slice,
    "round": _round,
    "sum": _sum,
    "tojson": _tojson,
}


# --- what the compiler puts around expressions (app.domain.rendering.language) ----------------------------------------


@pass_context
def _concat(context: Context, values: list[Any]) -> str:
    budget_of(context).spend(STEP + size(values))
    return (markup_join if context.eval_ctx.autoescape else str_join)(values)


@pass_context
def _weighed(context: Context, value: Any) -> Any:
    budget_of(context).spend(STEP + size(value))
    return value


@pass_context
def _made(context: Context, value: Any) -> Any:
    budget_of(context).spend(STEP * (1 + len(value)))
    return value


@pass_context
def _paced(context: Context, value: Any, body: int) -> Any:
    """What a loop runs over, paid in advance: ``body`` is the cost of going round once."""
    if isinstance(value, Undefined):
        return value  # the loop itself says what is undefined
    budget_of(context).spend((1 + len(value)) * body)
    return value


# --- the tables that the environment uses ---------------------------------------------------------------------------


def _within_budget(function: Callable[..., Any], *, light: bool = False, context_first: bool = False) -> Any:
    """The filter or test with its work paid before, and its result after."""
    wanted = getattr(function, "jinja_pass_arg", None)

    @pass_context
    def limited(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        budget = budget_of(context)
        budget.spend(STEP if light else STEP + size((value, args, kwargs)))
        if context_first:
            result = function(context, value, *args, **kwargs)
        elif wanted is None:
            result = function(value, *args, **kwargs)
        else:
            first = {"context": context, "eval_context": context.eval_ctx, "environment": context.environment}
            result = function(first[wanted.name], value, *args, **kwargs)
        if isinstance(result, Iterator):
            result = bounded_entries(result)
        budget.spend(len(result) if isinstance(result, str | list | tuple | Mapping) else 1)
        return result

    return limited


def limited_filters() -> dict[str, Callable[..., Any]]:
    """Every filter that a template may use, by name."""
    return (
        {name: _within_budget(FILTERS[name], light=True) for name in _LIGHT.split()}
        | {name: _within_budget(FILTERS[name]) for name in _PLAIN.split()}
        | {name: _within_budget(function, context_first=True) for name, function in _BOUNDED.items()}
        | {"_concat": _concat, "_weighed": _weighed, "_made": _made, "_paced": _paced}
    )


def limited_tests() -> dict[str, Callable[..., Any]]:
    """Every test that a template may use, by name."""
    tests: dict[str, Any] = {name: test for name, test in TESTS.items() if name not in _NO_TESTS.split()}
    return {name: _within_budget(test, light=name in _LIGHT_TESTS.split()) for name, test in tests.items()}


def limited_range(*args: int) -> range:
    """``range``; its length counts when it is looped over."""
    numbers = range(*args)
    bounded(abs(args[-1] if len(args) == 1 else args[1] - args[0]) if len(args) < 3 else len(numbers))
    return numbers


def limited_operator(operator: str, left: Any, right: Any) -> Any:
    """``+``, ``*``, ``%`` and ``**`` of what can't grow too large."""
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    match operator:
        case "+":
            if not numbers:
                bounded(size(left) + size(right))
            return left + right
        case "%":
            return left % right if numbers else formatted(left, right)
        case "*" if numbers:
            _bits(_bits_of(left) + _bits_of(right))
            return left * right
        case "*" if isinstance(left, str) and isinstance(right, int):
            bounded(len(left) * right)
            return left * right
        case "**" if numbers:
            _bits(int(_bits_of(left) * max(abs(right), 1)))
            return left**right
        case _:
            raise OverLimit(f"uses {operator} on what isn't numbers")


def _bits_of(number: float) -> int:
    return number.bit_length() if isinstance(number, int) else 64


def _bits(number: int) -> None:
    if number > _MOST_BITS:
        raise OverLimit("makes too large a number")
