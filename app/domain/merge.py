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


def merge_diff(before: Any, after: Any) -> Any:
    """The patch that makes ``after`` of ``before``."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return after
    gone = {name: None for name in before if name not in after}
    changed = {name: merge_diff(before.get(name), value) for name, value in after.items() if before.get(name) != value}
    return gone | changed
