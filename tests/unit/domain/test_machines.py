"""Programs that fetch a mail's pictures and links are told from people, as far as they say what they are."""

import pytest

from app.domain.machines import is_machine

FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
GMAIL = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/42.0.2311.135"


@pytest.mark.parametrize(
    "agent",
    [
        FIREFOX,
        "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
        "Mozilla/5.0 (Windows NT 5.1; rv:11.0) Gecko Firefox/11.0 (via ggpht.com GoogleImageProxy)",
        "YahooMailProxy; https://help.yahoo.com/kb/yahoo-mail-proxy-SLN28749.html",
        "Mozilla/5.0 (Linux; Android 14; Cubot P80) AppleWebKit/537.36 Chrome/142.0.0.0 Mobile Safari/537.36",
        "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.17928; Pro)",
    ],
)
def test_browsers_and_proxies_that_fetch_on_opening_are_people(agent: str) -> None:
    assert not is_machine("GET", {"user-agent": agent})


@pytest.mark.parametrize(
    "agent",
    [
        "",
        "Mozilla/5.0",
        f"{GMAIL} Safari/537.36 Edge/12.246 Mozilla/5.0",
        "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
        "BarracudaCentral/1.0",
        "python-requests/2.32.3",
        "Go-http-client/2.0",
        "curl/8.5.0",
        "WhatsApp/2.24",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 HeadlessChrome/142.0.0.0 Safari/537.36",
    ],
)
def test_programs_that_name_themselves_are_machines(agent: str) -> None:
    assert is_machine("GET", {"user-agent": agent})


@pytest.mark.parametrize("name", ["purpose", "sec-purpose", "x-purpose", "x-moz"])
def test_a_prefetch_is_a_machine_whatever_it_is_made_by(name: str) -> None:
    assert is_machine("GET", {"user-agent": FIREFOX, name: "prefetch;prerender"})


def test_a_person_makes_no_head_request() -> None:
    assert is_machine("HEAD", {"user-agent": FIREFOX})
