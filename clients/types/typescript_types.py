"""The TypeScript client's types, made of the gateway's description. As in Python an answer's words are ``string``."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from clients.types.models import Field, Model, Models, Operation

_SIMPLE = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
_MADE = "// Made of the gateway's description by `python -m clients.types`: don't edit it.\n\n"
_NAME = re.compile(r"[A-Za-z_]\w*")


def bodies_module(models: Models) -> str:
    return _MADE + "\n".join(_interface(model, strict=True) for model in models.bodies)


def answers_module(models: Models) -> str:
    return _MADE + "\n".join(_interface(model, strict=False) for model in models.answers)


def operations_module(models: Models) -> str:
    """What each operation takes and gives, by its method and path."""
    shown = "\n".join(_operation(each) for each in models.operations)
    return f"""{_MADE}import type * as answers from "./answers.js";
import type * as bodies from "./bodies.js";

/** `path` and `query`: the names of parameters. `body` and `answer`: undefined where there is none. */
export interface Operations {{
{shown}
}}
"""


def _operation(each: Operation) -> str:
    path = _names(re.findall(r"\{(\w+)\}", each.path))
    body = f"bodies.{each.body}" if each.body else "unknown"
    answer = f"answers.{each.answer}" if each.answer else "unknown"
    said = f"{{ path: {path}; query: {_names(each.query)}; body: {body}; answer: {answer} }}"
    return f"  /** {each.summary} */\n  {json.dumps(f'{each.method} {each.path}')}: {said};"


def _names(names: Iterable[str]) -> str:
    return " | ".join(map(json.dumps, names)) or "never"


def _interface(model: Model, *, strict: bool) -> str:
    about = f"/** {model.about} */\n" if model.about else ""
    members = "".join(_member(each, strict=strict) for each in model.fields)
    return f"{about}export interface {model.name} {{\n{members}}}\n"


def _member(each: Field, *, strict: bool) -> str:
    name = each.name if _NAME.fullmatch(each.name) else json.dumps(each.name)
    return f"  {name}{'' if each.required else '?'}: {_type(each.schema, strict=strict)};\n"


def _type(schema: Mapping[str, Any], *, strict: bool) -> str:
    match schema:
        case {"$ref": str(name)}:
            return name
        case {"anyOf": list(ways)}:
            return " | ".join(dict.fromkeys(_type(way, strict=strict) for way in ways))
        case {"enum": list(words)}:
            return " | ".join(map(json.dumps, words)) if strict else "string"
        case {"type": "array", "prefixItems": list(parts)}:
            return f"[{', '.join(_type(part, strict=strict) for part in parts)}]"
        case {"type": "array"}:
            return f"({_type(schema.get('items', {}), strict=strict)})[]"
        case {"type": "object"}:
            values = schema.get("additionalProperties", {})
            return f"Record<string, {_type(values if isinstance(values, dict) else {}, strict=strict)}>"
        case {"type": str(kind)}:
            return _SIMPLE[kind]
        case _:
            return "unknown"
