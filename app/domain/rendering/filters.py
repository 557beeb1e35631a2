"""The filters, tests and operators that templates may use, each within the budget of its rendering."""

import re
from collections.abc import Callable, ItemsView, Iterator, KeysView, Mapping, ValuesView
from contextlib import contextmanager
from itertools import groupby
from operator import eq, floordiv, ge, gt, le, lt, mod, ne, sub, truediv
from typing import Any, cast

from jinja2 import UndefinedError, pass_context
from jinja2.exceptions import SecurityError
from jinja2.filters import (
    FILTERS,
    _GroupTuple,
    do_round,
    do_tojson,
    ignore_case,
    make_attrgetter,
    make_multi_attrgetter,
)
from jinja2.runtime import Context, Undefined, markup_join, str_join
from jinja2.tests import TESTS

from app.domain.rendering.budget import (
    MOST_BITS,
    STEP,
    Budget,
    OverLimit,
    Unusable,
    bounded,
    bounded_entries,
    bounded_number,
    size,
)
from app.domain.rendering.nulls import Arguments, filled, format_without, holds, nulls_first, with_null

#: Those whose work doesn't grow with what they are given.
_LIGHT = "count d default first items last length list reject rejectattr reverse safe select selectattr"
_PLAIN = """
    abs capitalize e escape filesizeformat float forceescape int lower map string title trim truncate unique
    upper urlencode wordcount
"""
#: What they are given becomes a text.
_TEXTUAL = """
    capitalize center e escape forceescape lower replace string striptags title trim truncate upper urlencode wordcount
"""
#: What they make of null isn't null.
_OF_NULL: dict[str, Any] = {"count": 0, "length": 0, "wordcount": 0, "sum": 0}
#: They know what to do with null.
_NULL_AWARE = "d default float int tojson"
_LIGHT_TESTS = "boolean defined false mapping none number sequence string true undefined"
_NO_TESTS = "callable escaped filter sameas test"
_MOST_WIDTH = 200
_MOST_PARTS = 1000
_MOST_DIGITS = 20
_MOST_DIRECTIVES = 200

_ARITHMETIC: dict[str, Callable[[Any, Any], Any]] = {"-": sub, "/": truediv, "//": floordiv, "%": mod}
#: By the name that Jinja2's compiler gives them.
_COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {
    "eq": eq,
    "ne": ne,
    "gt": gt,
    "gteq": ge,
    "lt": lt,
    "lteq": le,
    "in": lambda left, right: left in right,
    "notin": lambda left, right: left not in right,
}

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
    member = make_attrgetter(context.environment, attribute)
    entries = [filled(member(entry)) for entry in bounded_entries(value)]
    bounded(size(entries) + len(str(d)) * len(entries))
    return FILTERS["join"](context.eval_ctx, entries, d)


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
    _directives(str(text))
    text, args = format_without(text, args)
    args = filled(args)
    places = 0
    for directive in _DIRECTIVE.finditer(str(text)):
        places += 1
        if "*" in directive["form"] or any(int(n) > _MOST_WIDTH for n in re.findall(r"\d{1,9}", directive["form"])):
            raise OverLimit(f"formats wider than {_MOST_WIDTH}")
    bounded(len(str(text)) + places * (size(args) + _MOST_WIDTH))
    return text % args


def _directives(text: str) -> None:
    """Of few directives, and names that end, no reader takes long."""
    if text.count("%") > _MOST_DIRECTIVES:
        raise OverLimit(f"formats more than {_MOST_DIRECTIVES} values")
    if text.rfind("%(") > text.rfind(")"):
        raise OverLimit("formats a value whose name doesn't end")


def _striptags(context: Context, value: Any) -> Any:
    """Each tag is cut out of a copy of the text."""
    text = str(value)
    budget_of(context).spend(text.count("<") * len(text) // 100)
    return FILTERS["striptags"](value)


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
        raise OverLimit("sums values that aren't numbers")
    member = make_attrgetter(context.environment, attribute)
    return sum([entry for each in iterable if (entry := member(each)) is not None], start)


def _fold(case_sensitive: bool) -> Callable[[Any], Any] | None:
    return None if case_sensitive else ignore_case


def _sort(
    context: Context,
    value: Any,
    reverse: bool = False,
    case_sensitive: bool = False,
    attribute: str | int | None = None,
) -> Any:
    key = make_multi_attrgetter(context.environment, attribute, postprocess=_fold(case_sensitive))
    return sorted(value, key=lambda entry: nulls_first(key(entry)), reverse=reverse)


def _dictsort(
    context: Context, value: Any, case_sensitive: bool = False, by: str = "key", reverse: bool = False
) -> Any:
    if by not in ("key", "value"):
        raise OverLimit("sorts an object by neither key nor value")
    place = ("key", "value").index(by)
    fold = _fold(case_sensitive) or (lambda part: part)
    return sorted(value.items(), key=lambda member: nulls_first([fold(member[place])]), reverse=reverse)


def _min(context: Context, value: Any, case_sensitive: bool = False, attribute: str | int | None = None) -> Any:
    return _outermost(context, min, value, case_sensitive, attribute)


def _max(context: Context, value: Any, case_sensitive: bool = False, attribute: str | int | None = None) -> Any:
    return _outermost(context, max, value, case_sensitive, attribute)


def _outermost(
    context: Context, choose: Callable[..., Any], value: Any, case_sensitive: bool, attribute: str | int | None
) -> Any:
    key = make_attrgetter(context.environment, attribute, postprocess=_fold(case_sensitive))
    entries = bounded_entries(value)
    if not entries:
        return context.environment.undefined("an empty list has neither a least nor a greatest value")
    known = [entry for entry in entries if key(entry) is not None]
    return choose(known, key=key) if known else None


def _groupby(
    context: Context, value: Any, attribute: str | int, default: Any = None, case_sensitive: bool = False
) -> Any:
    key = make_attrgetter(context.environment, attribute, postprocess=_fold(case_sensitive), default=default)
    shown = make_attrgetter(context.environment, attribute, default=default)
    entries = sorted(value, key=lambda entry: nulls_first([key(entry)]))
    groups = [list(group) for _, group in groupby(entries, key)]
    return [_GroupTuple(shown(group[0]), group) for group in groups]


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
    "striptags": _striptags,
    "sum": _sum,
    "sort": _sort,
    "dictsort": _dictsort,
    "min": _min,
    "max": _max,
    "groupby": _groupby,
    "tojson": _tojson,
}


# --- what the compiler puts around expressions (app.domain.rendering.language) ----------------------------------------


@pass_context
def _concat(context: Context, values: list[Any]) -> str:
    budget_of(context).spend(STEP + size(values))
    values = filled(values)
    return (markup_join if context.eval_ctx.autoescape else str_join)(values)


@pass_context
def _weighed(context: Context, value: Any) -> Any:
    budget_of(context).spend(STEP + size(value))
    return list(value) if isinstance(value, KeysView | ValuesView | ItemsView) else value


@pass_context
def _compared(context: Context, left: Any, *steps: Any) -> Any:
    """``left < right < …``: ``steps`` are operators and what is at their right, in turn."""
    spend = budget_of(context).spend
    spend(STEP + size(left))
    result: Any = True
    for operator, right in zip(steps[::2], steps[1::2], strict=True):
        spend(size(right))
        try:
            result = holds(_COMPARISONS[operator], operator, left, right)
        except (TypeError, ValueError, ArithmeticError):
            raise Unusable("compares values that can't be compared") from None
        if not result:
            return result
        left = right
    return result


@pass_context
def _searched(context: Context, value: Any) -> Any:
    """What a method is called on may be read from its begin to its end."""
    if isinstance(value, str | list | tuple):
        budget_of(context).spend(size(value))
    return value


@pass_context
def _sliceable(context: Context, value: Any) -> Any:
    return "" if value is None else value


@pass_context
def _spread(context: Context, value: Any, names: int) -> Any:
    """What is unpacked into so many names: each of them is null if it is."""
    return (None,) * names if value is None else value


@pass_context
def _made(context: Context, value: Any) -> Any:
    budget_of(context).spend(STEP * (1 + len(value)))
    return value


@pass_context
def _paced(context: Context, value: Any, body: int, names: int) -> Any:
    """What a loop runs over, paid in advance: ``body`` is the cost of going round once, ``names`` into how many an
    entry is unpacked."""
    if value is None:
        return ()
    if isinstance(value, Undefined):
        return value  # the loop itself says what is undefined
    budget_of(context).spend((1 + len(value)) * body)
    return [_spread(context, entry, names) for entry in value] if names and None in value else value


# --- the tables that the environment uses ---------------------------------------------------------------------------


def _limited_filter(name: str, function: Callable[..., Any], *, light: bool = False) -> Any:
    """The filter within the budget, and with a meaning for null."""
    passed = int(name in _BOUNDED or getattr(function, "jinja_pass_arg", None) is not None)
    arguments = Arguments(function, passed)
    within = _within_budget(function, light=light, context_first=name in _BOUNDED)
    textual, aware, of_null = name in _TEXTUAL.split(), name in _NULL_AWARE.split(), _OF_NULL.get(name)

    @pass_context
    def limited(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value is None and not aware:
            budget_of(context).spend(STEP)
            return of_null
        if None in args or None in kwargs.values():
            if arguments.variadic:
                if name != "format" and args and args[0] is None:
                    return value
            elif (known := arguments.without_null(args, kwargs)) is None:
                return value
            else:
                args, kwargs = (), known
        with _naming(f"the filter {name}"):
            if textual and not isinstance(value, str):
                budget_of(context).spend(size(value))
                value = filled(value)
            return within(context, value, *args, **kwargs)

    return limited


@contextmanager
def _naming(what: str) -> Iterator[None]:
    """Whatever goes wrong within is said of ``what``: Python's own words name classes, and addresses in memory."""
    try:
        yield
    except (OverLimit, UndefinedError, SecurityError):
        raise
    except ZeroDivisionError:
        raise Unusable(f"{what} divides by zero") from None
    except Exception:
        raise Unusable(f"{what} can't handle the value it is given") from None


def _limited_test(name: str, function: Callable[..., Any], *, light: bool = False) -> Any:
    """The test within the budget; one that null can't be asked doesn't hold for it."""
    within = _within_budget(function, light=light)

    @pass_context
    def limited(context: Context, value: Any, *args: Any, **kwargs: Any) -> Any:
        if value is not None and None not in args and None not in kwargs.values():
            with _naming(f"the test {name}"):
                return within(context, value, *args, **kwargs)
        try:
            return within(context, value, *args, **kwargs)
        except (TypeError, ValueError):
            return False

    return limited


def _within_budget(function: Callable[..., Any], *, light: bool = False, context_first: bool = False) -> Any:
    """The filter or test with its work paid before, and its result after."""
    wanted = getattr(function, "jinja_pass_arg", None)

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
        if isinstance(result, int):
            bounded_number(result)
        budget.spend(len(result) if isinstance(result, str | list | tuple | Mapping) else 1)
        return result

    return limited


def limited_filters() -> dict[str, Callable[..., Any]]:
    """Every filter that a template may use, by name."""
    return (
        {name: _limited_filter(name, FILTERS[name], light=True) for name in _LIGHT.split()}
        | {name: _limited_filter(name, FILTERS[name]) for name in _PLAIN.split()}
        | {name: _limited_filter(name, function) for name, function in _BOUNDED.items()}
        | {
            "_concat": _concat,
            "_weighed": _weighed,
            "_made": _made,
            "_paced": _paced,
            "_compared": _compared,
            "_searched": _searched,
        }
        | {"_sliceable": _sliceable, "_spread": _spread}
    )


def limited_tests() -> dict[str, Callable[..., Any]]:
    """Every test that a template may use, by name."""
    tests: dict[str, Any] = {name: test for name, test in TESTS.items() if name not in _NO_TESTS.split()}
    return {name: _limited_test(name, test, light=name in _LIGHT_TESTS.split()) for name, test in tests.items()}


def limited_range(*args: int) -> range:
    """``range``; its length counts when it is looped over."""
    if None in args:
        raise TypeError  # (nothing: who calls it knows what null means)
    with _naming("range"):
        numbers = range(*args)
        bounded(abs(args[-1] if len(args) == 1 else args[1] - args[0]) if len(args) < 3 else len(numbers))
        return numbers


def limited_operator(operator: str, left: Any, right: Any) -> Any:
    """An operator of what can't grow too large."""
    with _naming(operator):
        return _operated(operator, left, right)


def _operated(operator: str, left: Any, right: Any) -> Any:
    if isinstance(left, Undefined) or isinstance(right, Undefined):
        return left + right  # says what is undefined
    if operator == "%" and isinstance(left, str):
        return formatted(left, right)
    if left is None or right is None:
        return with_null(operator, left, right)
    numbers = isinstance(left, int | float) and isinstance(right, int | float)
    if numbers:
        _bits(max(_bits_of(left), _bits_of(right)))
    match operator:
        case "+":
            if not numbers:
                bounded(size(left) + size(right))
            return left + right
        case "-" | "/" | "//" | "%" if numbers:
            return _ARITHMETIC[operator](left, right)
        case "*" if numbers:
            _bits(_bits_of(left) + _bits_of(right))
            return left * right
        case "*" if isinstance(left, str) and isinstance(right, int):
            bounded(len(left) * right)
            return left * right
        case "**" if numbers:
            if isinstance(left, int) and isinstance(right, int):
                _bits(_bits_of(left) * max(right, 1))
            return left**right
        case _:
            raise OverLimit(f"uses {operator} on values that aren't numbers")


def _bits_of(number: float) -> int:
    return number.bit_length() if isinstance(number, int) else 64


def _bits(number: int) -> None:
    if number > MOST_BITS:
        raise OverLimit("makes too large a number")
