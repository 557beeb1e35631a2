"""Whether a picture or a link of a mail was fetched by a person, or by a program that fetches whatever it finds.

Nobody can tell for certain (docs/http.md#opens-and-clicks). What counts as evidence here is what such programs say of
themselves: their User-Agent, the header of a prefetch, or a HEAD request. Security products that pass for a browser
aren't recognized; proxies that fetch when a mail is opened (GoogleImageProxy, YahooMailProxy) count as people.
"""

import re
from collections.abc import Mapping

#: Apple's Mail Privacy Protection fetches the pictures of each mail on its arrival, with this and nothing more.
_APPLE = "Mozilla/5.0"
#: Gmail's prefetch; when a mail is opened its proxy names itself (GoogleImageProxy) instead.
_GMAIL_PREFETCH = re.compile(r"Chrome/42\.0\.2311\.135 Safari/537\.36 Edge/12\.246 Mozilla/5\.0$")

#: Link scanners of mail gateways, previews of messengers, crawlers, and the libraries that programs call with.
_PROGRAMS = re.compile(
    r"""
    (?<!cu)bot\b | crawl | spider | slurp | scan(?:ner)?\b | preview | prefetch | validator | headless
    | barracuda | mimecast | proofpoint | urldefense | safelinks | symantec | messagelabs | fireeye | trellix | sophos
    | trend\ ?micro | ironport | forcepoint | checkpoint | avanan | zscaler | cloudmark | bitdefender | kaspersky
    | google-safety | googlesecurityscanner | virustotal | urlscan | phishtank | netcraft
    | facebookexternalhit | whatsapp/ | skypeuri | embedly | slack-imgproxy
    | curl/ | wget/ | python- | python/ | aiohttp | httpx | urllib | go-http-client | java/ | okhttp | apache-httpclient
    | libwww | lwp:: | ruby | php/ | guzzle | axios | node-fetch | undici | postman | powershell | winhttp | phantomjs
    | monitor(?:ing)?\b | selenium | puppeteer | playwright
    """,
    re.IGNORECASE | re.VERBOSE,
)
_AHEAD = ("prefetch", "preview", "prerender")
_PREFETCH = ("purpose", "sec-purpose", "x-purpose", "x-moz")


def is_machine(method: str, headers: Mapping[str, str]) -> bool:
    """``headers``: looked up by name in lower case."""
    agent = headers.get("user-agent", "").strip()
    if method == "HEAD" or not agent:
        return True
    if any(word in headers.get(name, "").lower() for name in _PREFETCH for word in _AHEAD):
        return True
    return is_machine_agent(agent)


def is_machine_agent(agent: str | None) -> bool:
    """The same by the User-Agent alone, as vendors report it; None: they don't say."""
    agent = (agent or "").strip()
    if agent == _APPLE:
        return True
    return _GMAIL_PREFETCH.search(agent) is not None or _PROGRAMS.search(agent[:1000]) is not None
