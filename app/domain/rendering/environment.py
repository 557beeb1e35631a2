"""Jinja2's sandbox within limits: sources into compiled templates, templates and variables into text."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, UndefinedError, pass_context
from jinja2.exceptions import SecurityError
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import missing

from app.domain.rendering.budget import STEP, Budget, OverLimit, Stopwatch, Unusable, bounded, size
from app.domain.rendering.filters import (
    BudgetedContext,
    budget_of,
    limited_filters,
    limited_operator,
    limited_range,
    limited_tests,
)
from app.domain.rendering.language import restrict
from app.domain.rendering.nulls import filled

MAX_SOURCE = 64 * 1024
_MOST_ERROR_CHARACTERS = 200


class BadTemplate(Exception):
    """A source that can't be compiled, or a rendering that failed; the text holds no data."""


@pass_context
def _shown(context: Context, value: Any) -> Any:
    """What stands in the text for a value: nothing for null."""
    if isinstance(value, Undefined):
        return value
    budget_of(context).spend(size(value))
    return filled(value)


#: What data's types are to those who write templates.
_WORDS = {dict: "an object", list: "a list", str: "a text", int: "a number", float: "a number", bool: "true or false"}


class _Missing(StrictUndefined):
    """What isn't there: says so in the words of data, not of Python."""

    __slots__ = ()

    @property
    def _undefined_message(self) -> str:
        if self._undefined_hint:
            return self._undefined_hint
        name = f"{self._undefined_name!s:.100}"
        if self._undefined_obj is missing:
            return f"{name!r} is undefined"
        return f"{_WORDS.get(type(self._undefined_obj), 'what it is asked of')} has no {name!r}"


class _Environment(ImmutableSandboxedEnvironment):
    intercepted_binops = frozenset(("+", "-", "*", "/", "//", "%", "**"))
    intercepted_unops = frozenset(("+", "-"))
    context_class = BudgetedContext

    def __init__(self, *, html: bool) -> None:
        super().__init__(autoescape=html, undefined=_Missing, finalize=_shown, keep_trailing_newline=False)
        self.filters = cast(dict[str, Any], limited_filters())
        self.tests = cast(dict[str, Any], limited_tests())
        self.globals = {"range": limited_range}

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        result = limited_operator(operator, left, right)
        budget_of(context).spend(STEP + (len(result) if isinstance(result, str | list) else 0))
        return result

    def call_unop(self, context: Context, operator: str, arg: Any) -> Any:
        budget_of(context).spend(STEP)
        try:
            return None if arg is None else super().call_unop(context, operator, arg)
        except TypeError:
            raise Unusable(f"{operator} can't handle the value it is given") from None

    def unsafe_undefined(self, obj: Any, attribute: str) -> Undefined:
        return self.undefined(f"{attribute!s:.100} can't be used in templates", exc=SecurityError)

    def getattr(self, obj: Any, attribute: str) -> Any:
        """Data's own members come before the methods of dict (``order.items``)."""
        if obj is None:
            return None
        if isinstance(obj, dict) and attribute in obj:
            return obj[attribute]
        return super().getattr(obj, attribute)

    def getitem(self, obj: Any, argument: Any) -> Any:
        if obj is None or argument is None:
            return None
        if not isinstance(argument, str | int | slice):
            return self.undefined(obj=obj, name=_WORDS.get(type(argument), "such a member"))  # not what it holds
        return super().getitem(obj, argument)

    def call(__self, __context: Context, __obj: Any, *args: Any, **kwargs: Any) -> Any:
        if __obj is None:
            return None
        if not __self.is_safe_callable(__obj):
            raise SecurityError("this can't be called in templates")
        try:
            return __context.call(__obj, *args, **kwargs)
        except TypeError:
            if None in (*args, *kwargs.values()):
                return None
            raise

    def compiled(self, source: str) -> Template:
        tree = restrict(self.parse(source), frozenset(self.filters), frozenset(self.tests))
        return Template.from_code(self, self.compile(tree), dict(self.globals))


@lru_cache(maxsize=2)
def _environment(html: bool) -> _Environment:
    return _Environment(html=html)


def compiled(source: str, html: bool) -> Template:
    """The template of a source; ``html``: what it shows is escaped. Raises BadTemplate."""
    template = _compiled(source, html)
    if isinstance(template, str):
        raise BadTemplate(template)
    return template


@lru_cache(maxsize=4096)
def _compiled(source: str, html: bool) -> Template | str:
    """The template, or why there is none: a bad source is found bad only once."""
    if len(source) > MAX_SOURCE:
        return f"is longer than {MAX_SOURCE} characters"
    try:
        return _environment(html).compiled(source)
    except TemplateSyntaxError as error:
        return f"line {error.lineno}: {error.message}"
    except (SyntaxError, ValueError, OverflowError):
        return "can't be compiled: it contains something unacceptable, such as a number with thousands of digits"
    except (RecursionError, MemoryError):
        return "can't be compiled: it is nested too deeply"


def rendered(source: str, variables: Mapping[str, Any], *, html: bool, stopwatch: Stopwatch | None = None) -> str:
    """The text of a source with these variables (JSON's types only). Raises BadTemplate."""
    if "{" not in source:
        return _plain(source, html)
    return _rendered(source, variables, html, stopwatch)


@lru_cache(maxsize=1024)
def _plain(source: str, html: bool) -> str:
    """The text of a source in which nothing stands for anything: the same for everybody. Raises BadTemplate."""
    return _rendered(source, {}, html, None)


def _rendered(source: str, variables: Mapping[str, Any], html: bool, stopwatch: Stopwatch | None) -> str:
    template = compiled(source, html)
    context = cast(BudgetedContext, template.new_context(dict(variables)))
    context.budget = Budget(stopwatch)
    pieces: list[str] = []
    written = 0
    try:
        for piece in template.root_render_func(context):
            written = bounded(written + len(piece))
            pieces.append(piece)
    except (OverLimit, UndefinedError, SecurityError) as error:
        raise BadTemplate(str(error)[:_MOST_ERROR_CHARACTERS]) from None
    except Exception:  # whatever else an expression raises is the template's or the data's fault
        raise BadTemplate("can't be rendered: an expression can't handle the value it is given") from None
    return "".join(pieces)
