"""What docstrings and pages cite exists: files, and the headings in them."""

import re
import subprocess
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_IN_CODE = re.compile(r"(?<![\w/.])(docs/[\w./-]*\w\.md)(?:#([\w-]+))?")
_IN_PAGES = re.compile(r"\]\((?!https?:|mailto:)([^)#\s]*)(?:#([^)\s]+))?\)")
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_NOBODY_ELSE_HAS = re.compile(r"\b(?:the contract|contract[,.] [\"\d]|H\d{1,2}\))")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#{1,6} +(.+?) *$", _FENCED.sub("", page.read_text()), re.MULTILINE):
        text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        names.add(f"{slug}-{found[slug]}" if slug in found else slug)
        found[slug] = found.get(slug, 0) + 1
    return frozenset(names)


def missing(page: Path, anchor: str | None) -> bool:
    return not page.exists() or (bool(anchor) and page.suffix == ".md" and anchor not in anchors(page))


def test_every_page_that_code_cites_exists_with_its_heading() -> None:
    cited = [
        (source.relative_to(ROOT), name, anchor)
        for source in tracked("*.py", "*.sql", "*.yaml", "*.toml", "Makefile")
        for name, anchor in _IN_CODE.findall(source.read_text())
    ]

    assert len(cited) > 40
    assert [each for each in cited if missing(ROOT / each[1], each[2])] == []


def test_every_link_between_pages_leads_to_a_heading() -> None:
    links = [
        (page.relative_to(ROOT), name, anchor)
        for page in tracked("*.md")
        for name, anchor in _IN_PAGES.findall(_FENCED.sub("", page.read_text()))
    ]

    assert len(links) > 100
    broken = [
        (page, name, anchor)
        for page, name, anchor in links
        if missing((ROOT / page).parent / name if name else ROOT / page, anchor)
    ]
    assert broken == []


def test_nothing_cites_what_users_do_not_have() -> None:
    sources = [path for path in tracked("*.py", "*.md") if path != Path(__file__).resolve()]

    assert [str(path) for path in sources if _NOBODY_ELSE_HAS.search(path.read_text())] == []
