"""The Python client's types, made of the gateway's description: what is sent as ``TypedDict``, what is answered as
``msgspec.Struct``. An answer may grow by members and by words that a client doesn't know yet: a word is ``str`` there.
"""

import keyword
import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from clients.types.models import Field, Model, Models
from schemas.words import Channel, Platform, Priority, Provider, Status

_SIMPLE = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
_MADE = "Made of the gateway's description by ``python -m clients.types``: don't edit it."

#: Words that many bodies have.
_WORDS = {
    tuple(sorted(get_args(kind))): name
    for name, kind in (
        ("Channel", Channel),
        ("Platform", Platform),
        ("Priority", Priority),
        ("Provider", Provider),
        ("Status", Status),
    )
}

_BODIES = f'''"""What is sent. {_MADE}"""

from datetime import datetime
from typing import Any, Literal, Required, TypedDict

#: RFC 3339, or a time with its zone.
Instant = str | datetime
''' + "\n".join(f"{name} = Literal[{', '.join(map(repr, words))}]" for words, name in _WORDS.items())
_ANSWERS = f'''"""What is answered. {_MADE}

Members that this version doesn't know are passed over."""

from typing import Any

from msgspec import Struct, field

'''


def bodies_module(models: Models) -> str:
    return _formatted(_BODIES + "\n\n" + "\n\n".join(_typed_dict(model) for model in models.bodies))


def answers_module(models: Models) -> str:
    return _formatted(_ANSWERS + "\n\n".join(_struct(model) for model in models.answers))


def python_name(name: str) -> str:
    """``from`` is ``from_``."""
    return f"{name}_" if keyword.iskeyword(name) else name


def _typed_dict(model: Model) -> str:
    members = [
        f"    {python_name(each.name)}: "
        + (f"Required[{_type(each.schema, strict=True)}]" if each.required else _type(each.schema, strict=True))
        for each in model.fields
    ]
    return f"class {model.name}(TypedDict, total=False):\n{_about(model)}" + _lines(members, model)


def _struct(model: Model) -> str:
    members = [_member(each) for each in model.fields]
    return f"class {model.name}(Struct, frozen=True, kw_only=True):\n{_about(model)}" + _lines(members, model)


def _member(each: Field) -> str:
    kind = _type(each.schema, strict=False)
    if each.required:
        default = ""
    elif each.default is None:
        kind = kind if kind == "Any" or "None" in kind.split(" | ") else f"{kind} | None"
        default = "None"
    else:
        default = repr(each.default)
    name = python_name(each.name)
    if name != each.name:
        given = f"default={default}, " if default else ""
        return f"    {name}: {kind} = field({given}name={each.name!r})"
    return f"    {name}: {kind}" + (f" = {default}" if default else "")


def _lines(members: Iterable[str], model: Model) -> str:
    return "\n".join(members) + "\n" if model.fields else "" if model.about else "    pass\n"


def _about(model: Model) -> str:
    if not model.about:
        return ""
    text = textwrap.fill(f'"""{model.about}"""', 112)
    return textwrap.indent(text, "    ") + "\n\n"


def _type(schema: Mapping[str, Any], *, strict: bool) -> str:
    """``strict``: of the words that there are now."""
    match schema:
        case {"$ref": str(name)}:
            return name
        case {"anyOf": list(ways)}:
            return " | ".join(dict.fromkeys(_type(way, strict=strict) for way in ways))
        case {"enum": list(words)} if strict and tuple(sorted(words)) in _WORDS:
            return _WORDS[tuple(sorted(words))]
        case {"enum": list(words)}:
            return f"Literal[{', '.join(map(repr, words))}]" if strict else "str"
        case {"type": "array", "prefixItems": list(parts)}:
            return f"tuple[{', '.join(_type(part, strict=strict) for part in parts)}]"
        case {"type": "array"}:
            return f"list[{_type(schema.get('items', {}), strict=strict)}]"
        case {"type": "object"}:
            values = schema.get("additionalProperties", {})
            return f"dict[str, {_type(values if isinstance(values, dict) else {}, strict=strict)}]"
        case {"type": "string", "format": "date-time"} if strict:
            return "Instant"
        case {"type": str(kind)}:
            return _SIMPLE[kind]
        case _:
            return "Any"


def _formatted(source: str) -> str:
    command = [sys.executable, "-m", "ruff", "format", "--line-length=120", "--stdin-filename=made.py", "-"]
    unused = [sys.executable, "-m", "ruff", "check", "--select=F401,I", "--fix-only", "--quiet"]
    made = subprocess.run(
        [*unused, "--stdin-filename=made.py", "-"], input=source, capture_output=True, text=True, check=True
    )
    return subprocess.run(command, input=made.stdout, capture_output=True, text=True, check=True).stdout
