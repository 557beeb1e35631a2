"""JSON merge patch (RFC 7396)."""

from typing import Any


def merge_patch(document: Any, patch: Any) -> Any:
    """The document with the patch applied: objects are merged, null removes, anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(document) if isinstance(document, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
