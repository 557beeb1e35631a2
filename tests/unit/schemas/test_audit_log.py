"""An entry can always be written, stands on one line, and is no longer than it may be."""

from hypothesis import given
from hypothesis import strategies as st

from schemas.audit_log import MAX_FROM_CHARS, MAX_WHAT_CHARS, audit_entry, encode_audit_entry, read_audit_entry

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=2 * MAX_WHAT_CHARS)


@given(ANY_TEXT, ANY_TEXT)
def test_whatever_is_said_fits_on_one_line_of_the_log(from_: str, what: str) -> None:
    entry = audit_entry("2026-11-29T10:00:00.000Z", "ops", from_, "policy.put", what)

    assert read_audit_entry(encode_audit_entry(entry)) == entry
    assert len(entry.from_) <= MAX_FROM_CHARS
    assert len(entry.what) <= MAX_WHAT_CHARS
    assert entry.what.isprintable()
    assert entry.from_.isprintable()


def test_what_is_cut_says_so() -> None:
    entry = audit_entry("2026-11-29T10:00:00.000Z", None, "ada@host", "key.revoke", "x" * (MAX_WHAT_CHARS + 1))

    assert entry.what == "x" * (MAX_WHAT_CHARS - 1) + "…"


def test_the_topics_record_has_the_public_names() -> None:
    entry = audit_entry("2026-11-29T10:00:00.000Z", None, "ada@host", "key.revoke", "shop")

    assert encode_audit_entry(entry) == (
        b'{"at":"2026-11-29T10:00:00.000Z","key_id":null,"from":"ada@host","action":"key.revoke","what":"shop"}'
    )
