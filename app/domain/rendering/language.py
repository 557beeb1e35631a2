"""The part of Jinja2's language that templates may use, and where its work is counted.

The sandbox of Jinja2 keeps templates from our objects, but not from using up memory and time. So a template is read
into its syntax tree, whatever could recurse or gather without limit is refused, and what loops, compares or makes
values is wrapped in a filter that counts.
"""

from typing import Any, cast

from jinja2 import TemplateSyntaxError, nodes
from jinja2.visitor import NodeTransformer

from app.domain.rendering.budget import STEP

_STATEMENTS: tuple[type[nodes.Node], ...] = (
    nodes.Template,
    nodes.Output,
    nodes.TemplateData,
    nodes.If,
    nodes.For,
    nodes.Assign,
    nodes.With,
)
_EXPRESSIONS: tuple[type[nodes.Node], ...] = (
    nodes.Name,
    nodes.Const,
    nodes.Tuple,
    nodes.List,
    nodes.Dict,
    nodes.Pair,
    nodes.Keyword,
    nodes.CondExpr,
    nodes.Filter,
    nodes.Test,
    nodes.Call,
    nodes.Getattr,
    nodes.Getitem,
    nodes.Slice,
    nodes.Compare,
    nodes.Operand,
    nodes.Concat,
    nodes.BinExpr,
    nodes.UnaryExpr,
)
#: Methods of texts, objects and ``loop`` whose result is no larger than what they are called on.
_METHODS = """
    capitalize changed count cycle endswith find get isdigit items keys lower lstrip removeprefix removesuffix rstrip
    split splitlines startswith strip title upper values
"""
_NOT_NAMES = frozenset(("self", "super", "caller", "varargs", "kwargs"))
_MOST_NODES = 5_000


def restrict(tree: nodes.Template, filters: frozenset[str], tests: frozenset[str]) -> nodes.Template:
    """The tree with its work counted; raises TemplateSyntaxError for what templates may not use."""
    if sum(1 for _ in tree.find_all(nodes.Node)) > _MOST_NODES:
        raise TemplateSyntaxError("is too large", 1)
    restricted: nodes.Template = _Restriction(filters, tests).visit(tree)
    return restricted


def _counted(node: nodes.Expr, by: str, *args: nodes.Expr) -> nodes.Filter:
    return nodes.Filter(node, by, list(args), [], None, None, lineno=node.lineno, environment=node.environment)


def _constant(node: nodes.Node, value: Any) -> nodes.Const:
    return nodes.Const(value, lineno=node.lineno, environment=node.environment)


def _names_of(target: nodes.Node) -> int:
    """Into how many names a value is unpacked; 0: it isn't."""
    return len(target.items) if isinstance(target, nodes.Tuple) else 0


def _cost(loop: nodes.For) -> int:
    """What going round once costs: steps for its nodes, and the characters that it writes as they stand."""
    written = sum(len(data.data) for data in loop.find_all(nodes.TemplateData))
    return STEP * sum(1 for _ in loop.find_all(nodes.Node)) + written


class _Restriction(NodeTransformer):
    def __init__(self, filters: frozenset[str], tests: frozenset[str]) -> None:
        self._filters = filters
        self._tests = tests
        self._methods = frozenset(_METHODS.split())

    def generic_visit(self, node: nodes.Node, *args: Any, **kwargs: Any) -> nodes.Node:
        if not isinstance(node, _STATEMENTS + _EXPRESSIONS):
            self._refuse(node, f"{type(node).__name__.lower()} can't be used in templates")
        return super().generic_visit(node, *args, **kwargs)

    def visit_Name(self, node: nodes.Name) -> nodes.Node:
        if node.name in _NOT_NAMES or (node.ctx != "load" and node.name in ("range", "loop")):
            self._refuse(node, f"the name {node.name} can't be used here")
        return node

    def visit_For(self, node: nodes.For) -> nodes.Node:
        if node.recursive:
            self._refuse(node, "recursive loops can't be used in templates")
        cost = _cost(node)
        self.generic_visit(node)
        names = _names_of(node.target)
        node.iter = _counted(cast(nodes.Expr, node.iter), "_paced", _constant(node, cost), _constant(node, names))
        return node

    def visit_Assign(self, node: nodes.Assign) -> nodes.Node:
        self.generic_visit(node)
        if names := _names_of(node.target):
            node.node = _counted(cast(nodes.Expr, node.node), "_spread", _constant(node, names))
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:
        self.generic_visit(node)
        return _counted(nodes.List(node.nodes, lineno=node.lineno, environment=node.environment), "_concat")

    def visit_List(self, node: nodes.List) -> nodes.Node:
        self.generic_visit(node)
        return _counted(node, "_made")

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Node:
        self.generic_visit(node)
        if node.ctx != "load":
            return node
        return _counted(nodes.List(node.items, lineno=node.lineno, environment=node.environment), "_made")

    def visit_Dict(self, node: nodes.Dict) -> nodes.Node:
        for pair in node.items:
            if not isinstance(pair.key, nodes.Const):
                self._refuse(node, "keys must be constants")
        self.generic_visit(node)
        return _counted(node, "_made")

    def visit_Compare(self, node: nodes.Compare) -> nodes.Node:
        self.generic_visit(node)
        steps: list[nodes.Expr] = []
        for operand in node.ops:
            steps += [_constant(node, operand.op), operand.expr]
        return _counted(node.expr, "_compared", *steps)

    def visit_Getitem(self, node: nodes.Getitem) -> nodes.Node:
        sliced = isinstance(node.arg, nodes.Slice)
        self.generic_visit(node)
        if sliced:
            node.node = _counted(node.node, "_sliceable")
            return _counted(node, "_weighed")
        node.arg = _counted(node.arg, "_weighed")  # an error would write it out
        return node

    def visit_Call(self, node: nodes.Call) -> nodes.Node:
        function = node.node
        known = isinstance(function, nodes.Name) and function.name == "range"
        known = known or (isinstance(function, nodes.Getattr) and function.attr in self._methods)
        if not known or node.dyn_args is not None or node.dyn_kwargs is not None:
            self._refuse(node, "this can't be called in templates (use a filter)")
        self.generic_visit(node)
        if isinstance(node.node, nodes.Getattr):
            node.node.node = _counted(node.node.node, "_searched")
        node.args = [_counted(argument, "_weighed") for argument in node.args]
        for keyword in node.kwargs:
            keyword.value = _counted(keyword.value, "_weighed")
        return _counted(node, "_weighed")

    def visit_Filter(self, node: nodes.Filter) -> nodes.Node:
        return self._known(node, "filter", self._filters)

    def visit_Test(self, node: nodes.Test) -> nodes.Node:
        return self._known(node, "test", self._tests)

    def _known(self, node: nodes.Filter | nodes.Test, kind: str, names: frozenset[str]) -> nodes.Node:
        if node.name not in names or node.name.startswith("_"):
            self._refuse(node, f"there is no {kind} {node.name}")
        if node.dyn_args is not None or node.dyn_kwargs is not None:
            self._refuse(node, "arguments can't be unpacked in templates")
        return self.generic_visit(node)

    @staticmethod
    def _refuse(node: nodes.Node, why: str) -> None:
        raise TemplateSyntaxError(why, node.lineno)
