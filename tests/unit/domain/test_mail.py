"""A rendered mail's last steps: whatever HTML comes, it ends, every web link is tracked, and the rest is left alone."""

import re
from html import escape, unescape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from app.domain.mail import Added, Footer, finished
from app.domain.mail.finish import target_of
from app.domain.mail.text import text_of

PREFIX = "https://n.example/c/"
ALL = Added(
    locale="en",
    preheader="Look",
    pixel="https://n.example/o.gif",
    clicked=lambda url: PREFIX + url,
    footer=Footer("https://n.example/u", "Acme"),
)

TAGS = "p /p b /b a /a table td /table /body style /style script /script svg plaintext template frameset select"
PIECES = [f"<{name}>" for name in TAGS.split()]
PIECES += ["<b id=1>", "<a href=", "<a href='https://x.example/'>", "<!--", "-->", "<math><mi>", "<title>", "a{b:c}"]
PIECES += ["<textarea>", "<", ">", "x", '"', "&amp;", "\0", " "]
markup = st.lists(st.sampled_from(PIECES), max_size=60).map("".join)
urls = st.from_regex(r"https?://[a-z]{1,8}\.example(/[a-zA-Z0-9?=&;,#%üß ]{0,20})?", fullmatch=True).map(str.strip)


@given(markup | st.text(max_size=200), st.none() | st.text(max_size=20))
def test_any_html_becomes_a_mail_and_always_the_same(html: str, text: str | None) -> None:
    mail = finished(html, text, ALL)

    assert mail == finished(html, text, ALL)
    assert mail.html is not None
    assert mail.text is not None
    assert mail.text.endswith("Unsubscribe: https://n.example/u")
    assert finished(html, text, Added()).html is not None


@given(st.lists(urls, min_size=1, max_size=5))
def test_every_web_link_of_a_mail_is_tracked_and_leads_where_it_led(targets: list[str]) -> None:
    html = "".join(f'<a href="{escape(url)}">x</a>' for url in targets)
    shown = finished(html, "", Added(clicked=lambda url: PREFIX + url)).html or ""

    hrefs = [node.attributes["href"] for node in LexborHTMLParser(shown).css("a")]
    assert hrefs == [PREFIX + str(target_of(url)) for url in targets]
    assert all(re.fullmatch(r"https?://[!-~]+", str(href).removeprefix(PREFIX)) for href in hrefs)


OTHERS = ["mailto:a@b.example", "tel:+44", "#top", "/path", "//evil.example", "javascript:x", "data:text/html,x", ""]
OTHERS += [
    "https://" + "x" * 3000 + ".example",
    "http://",
    "https://münchen.example/",
    "ftp://x.example",
    "https://[::1",
]


@pytest.mark.parametrize("href", OTHERS)
def test_other_links_stay_as_they_are(href: str) -> None:
    shown = finished(f'<a href="{escape(href)}">x</a>', "", Added(clicked=lambda url: PREFIX + url)).html or ""

    assert f'href="{escape(href)}"' in shown


@pytest.mark.parametrize("mark", ["data-no-track", 'clicktracking="off"'])
def test_a_link_may_be_left_untracked_and_its_mark_does_not_go_out(mark: str) -> None:
    shown = finished(f'<a {mark} href="https://x.example/">x</a>', "", Added(clicked=lambda url: PREFIX + url)).html

    assert shown is not None
    assert '<a href="https://x.example/">' in shown


def test_a_mail_to_which_nothing_is_done_stays_as_it_was() -> None:
    html = "<P>as it <came"

    assert finished(html, "t", Added("en")).html == html


def test_styles_are_written_out_and_stay_for_those_that_can_do_more() -> None:
    shown = finished("<style>b{color:red} @media print{b{color:blue}}</style><b>x</b>", "", Added()).html or ""

    assert '<b style="color: red;">' in shown
    assert "@media print" in shown


@pytest.mark.parametrize(
    "html",
    [
        "<div>" * 30_000,
        "<p>" + "".join(f"<b id={n}>" for n in range(600)) + "</p>" + "<p>x</p>" * 8_000,
        "<style>" + "b{color:red}" * 20_000 + "</style>" + "<b>x</b>" * 2_000,
        "<!--" * 60_000,
        "<a href=" * 30_000,
    ],
    ids=["nested", "misnested", "styled", "comments", "broken"],
)
def test_html_that_is_too_much_work_is_sent_with_its_footer(html: str) -> None:
    assert "https://n.example/u" in (finished(html, "t", ALL).html or "")


def test_what_is_hidden_stands_in_no_text_and_links_say_where_they_lead() -> None:
    html = (
        "<head><title>t</title></head><h1>Hello</h1><div style='display:none'>hidden</div>"
        "<p>See <a href='https://x.example/a'>here</a>,<br>or <a href='https://x.example'>x.example</a>.</p>"
        "<ul><li>one<li>two</ul><table><tr><td>1<td>2<tr><td>3</table><img alt='A cat'>"
    )

    assert text_of(html) == (
        "Hello\n\nSee here (https://x.example/a),\nor x.example.\n\n- one\n- two\n\n1 2\n3\n\nA cat"
    )


@given(markup)
def test_text_is_made_of_any_html(html: str) -> None:
    assert "<b id" not in unescape(text_of(html)) or "<plaintext>" in html or "<textarea>" in html or "<title>" in html


STRICT = '<!DOCTYPE html PUBLIC "-//W3C//DTD XHTML 1.0 Transitional//EN" "http://www.w3.org/TR/xhtml1/xhtml1.dtd">'
CONDITIONS = (
    "<!--[if mso]><table><tr><td><![endif]-->",
    "<!--[if !mso]><!-->",
    "<!--<![endif]-->",
    "<![if !mso]>",
    "<![endif]>",
    "<!-- a remark -->",
)


@pytest.mark.parametrize("style", ["", "<style>p{color:red}</style>"])
@pytest.mark.parametrize("pixel", [None, "https://n.example/p.gif"])
def test_what_only_mail_programs_read_stays_as_it_was_written(style: str, pixel: str | None) -> None:
    html = f"{STRICT}<html><head>{style}</head><body><p>{'x'.join(CONDITIONS)}</p></body></html>"

    shown = finished(html, None, Added(pixel=pixel)).html or ""

    assert shown.startswith(f"{STRICT}<html>")
    for condition in CONDITIONS:
        assert condition in shown
    assert "<!--[if !mso]-->" not in shown
