"""``tocsin experiments``: whether the variants of a campaign or a template differ."""

import asyncio
import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from app.cli.moments import duration
from app.cli.output import AsJson, Refused, print_rows
from app.cli.settings import load_settings
from app.domain.experiments import Difference, Share, baseline_of, difference, share

if TYPE_CHECKING:
    from app.store.experiments import Experiments, Reach, Variant

app = typer.Typer()

_COLUMNS = (
    *("channel", "variant", "measure", "count", "of", "share", "interval"),
    *("difference", "of_difference", "enough"),
)
_INSTALL = "intervals need statsmodels: pip install 'tocsin[experiments]'"
_LONGEST_NAME = 255


@app.callback()
def experiments() -> None:
    """Whether variants differ."""


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="CAMPAIGN|TEMPLATE", help="Its id.")],
    template: Annotated[
        bool, typer.Option("--template", help="The id is a template's (if a campaign has the same).")
    ] = False,
    source: Annotated[
        str | None, typer.Option(help="The campaign's source, if several have a campaign of that name.")
    ] = None,
    version: Annotated[int | None, typer.Option(min=1, help="Only sends of this version of the template.")] = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="The variant to compare the others with. Default: control, or else the first by name."),
    ] = None,
    goal: Annotated[
        str | None,
        typer.Option(help="An event type: compare the share of users who reached it, with the campaign and held out."),
    ] = None,
    within: Annotated[str, typer.Option(help="How long after the campaign the goal still counts: 12h, 7d.")] = "7d",
    as_json: AsJson = False,
) -> None:
    """Show how many users got, opened and clicked each variant and opted out, and whether differences are significant.

    Shares and differences have 95 % intervals. `enough` says whether a difference is there; if not, of how many users
    in each variant one like this would probably show. With `--goal`, what the campaign itself changed: by its holdout.

    Example: `tocsin experiments show spring --goal order.placed --within 3d`
    """
    from app.store.queries import Queries, QueryRefused, Unavailable

    if not 0 < len(name) <= _LONGEST_NAME:
        raise Refused(f"CAMPAIGN|TEMPLATE: at most {_LONGEST_NAME} characters")
    within_ms = duration("--within", within)
    settings = load_settings()

    async def ask() -> dict[str, Any]:
        from app.store.experiments import Experiments

        queries = Queries(settings)
        try:
            return await _result(
                Experiments(queries),
                name,
                template=template,
                source=source,
                version=version,
                baseline=baseline,
                goal=goal,
                within_s=within_ms // 1000,
            )
        finally:
            await queries.close()

    try:
        result = asyncio.run(ask())
    except (QueryRefused, Unavailable) as error:
        raise Refused(str(error)) from None
    except ModuleNotFoundError as error:
        if error.name != "statsmodels":
            raise
        raise Refused(_INSTALL) from None
    if as_json:
        print(json.dumps(result, indent=2))
        return
    print_rows([_shown(row) for row in result["variants"]], _COLUMNS, as_json=False)
    if result["holdout"] is not None:
        typer.echo("")
        print_rows([_shown(row) for row in result["holdout"]], ("group", *_COLUMNS[2:]), as_json=False)
    for note in result["notes"]:
        typer.echo(note)


async def _result(
    experiments: "Experiments",
    name: str,
    *,
    template: bool,
    source: str | None,
    version: int | None,
    baseline: str | None,
    goal: str | None,
    within_s: int,
) -> dict[str, Any]:
    kinds = await experiments.kinds(name)
    kind = "template" if template else next(iter(kinds), None)
    if kind is None or kind not in kinds:
        what = "template" if template else "campaign and no template"
        raise Refused(f"{name}: no {what} of that name has sent anything")
    if goal is not None and kind != "campaign":
        raise Refused("--goal: only a campaign has a holdout to compare with")
    of = await _source(experiments, name, source) if kind == "campaign" else None
    expired = kind == "campaign" and await experiments.has_expired(name)
    if expired and (goal or of):
        option = "--goal" if goal else "--source"
        raise Refused(f"{option}: events of {name} have expired (clickhouse.retention_days), so they can't be counted")
    found = await experiments.variants(kind, name, version, of)
    variants = _named(found)
    notes = [*_notes(name, found, variants, expired=expired), *_without(variants, baseline)]
    rows = list(_of_variants(variants, baseline))
    held = await experiments.reach(name, goal, within_s, of) if kind == "campaign" and not expired else None
    holdout = _of_holdout(*held, goal) if held is not None and held[1].users else None
    if goal is not None and holdout is None:
        raise Refused(f"--goal: campaign {name} had no holdout, so there is nothing to compare with")
    return {
        "name": name,
        "kind": kind,
        "versions": _versions(variants),
        "variants": rows,
        "holdout": holdout,
        "notes": notes,
    }


async def _source(experiments: "Experiments", campaign: str, given: str | None) -> str | None:
    """The one to tell apart; None: there is no other."""
    there = await experiments.sources(campaign)
    if given is not None and given not in there:
        raise Refused(
            f"--source: {given} has no campaign {campaign}; there are those of {', '.join(there) or 'nobody'}"
        )
    if given is None and len(there) > 1:
        raise Refused(f"--source: {campaign} is a campaign of each of {', '.join(there)}: choose one")
    return given if len(there) > 1 else None


def _named(variants: "Sequence[Variant]") -> "Sequence[Variant]":
    """Sends without a variant were chosen by something else than chance: they are no group to compare with."""
    named = [variant for variant in variants if variant.variant is not None]
    return named or variants


def _versions(variants: "Sequence[Variant]") -> list[int]:
    return sorted({version for variant in variants for version in variant.versions})


def _of_variants(variants: "Sequence[Variant]", named: str | None) -> Iterator[dict[str, Any]]:
    """Channel by channel, the baseline first."""
    try:
        overall = baseline_of([variant.variant for variant in variants] or [None], named)
    except ValueError as error:
        raise Refused(f"--baseline: {error}") from None
    for channel in dict.fromkeys(variant.channel for variant in variants):
        there = {variant.variant: variant for variant in variants if variant.channel == channel}
        first = overall if overall in there else baseline_of(list(there))
        ordered = [there[first], *(there[other] for other in there if other != first)]
        for variant in ordered:
            for measure, count in variant.counts.items():
                of = share(count, variant.users)
                base = share(there[first].counts[measure], there[first].users)
                apart = None if variant.variant == first else difference(of, base, len(ordered) - 1)
                yield {"channel": channel, "variant": variant.variant, **_row(measure, of, apart)}


def _of_holdout(treated: "Reach", held_out: "Reach", goal: str | None) -> list[dict[str, Any]]:
    """Users, not sends: of all whom the campaign was meant for, whatever they got of it."""
    if goal is None:
        return [
            {"group": group, **_row("users", Share(reach.users, treated.users + held_out.users), None)}
            for group, reach in (("campaign", treated), ("holdout", held_out))
        ]
    base = share(held_out.reached_goal, held_out.users)
    of = share(treated.reached_goal, treated.users)
    return [
        {"group": "holdout", **_row(goal, base, None)},
        {"group": "campaign", **_row(goal, of, difference(of, base))},
    ]


def _row(measure: str, of: Share, apart: Difference | None) -> dict[str, Any]:
    return {
        "measure": measure,
        "count": of.count,
        "of": of.of,
        "share": of.value,
        "low": of.low,
        "high": of.high,
        "difference": None if apart is None else apart.value,
        "difference_low": None if apart is None else apart.low,
        "difference_high": None if apart is None else apart.high,
        "enough": None if apart is None else apart.enough,
        "needed": None if apart is None else apart.needed,
    }


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    needed = "" if row["needed"] is None else f", {row['needed']:,} each"
    return {
        **row,
        "share": _percent(row["share"]),
        "interval": _interval(row["low"], row["high"]),
        "difference": _points(row["difference"]),
        "of_difference": _interval(row["difference_low"], row["difference_high"], signed=True),
        "enough": None if row["enough"] is None else "yes" if row["enough"] else f"no{needed}",
    }


def _percent(value: float | None) -> str | None:
    return None if value is None else f"{value * 100:.2f} %"


def _points(value: float | None) -> str | None:
    return None if value is None else f"{value * 100:+.2f}"


def _interval(low: float | None, high: float | None, *, signed: bool = False) -> str | None:
    if low is None or high is None:
        return None
    return f"{low * 100:+.2f} to {high * 100:+.2f}" if signed else f"{low * 100:.2f} to {high * 100:.2f}"


def _notes(name: str, found: "Sequence[Variant]", compared: "Sequence[Variant]", *, expired: bool) -> Iterator[str]:
    if expired:
        yield f"Events of {name} have expired: its holdout can't be counted, nor be told whose campaign it is."
    if len(compared) < len(found):
        left = sum(variant.users for variant in found if variant.variant is None)
        yield f"Left out, as they have no variant: sends to {left} users."
    if len(versions := _versions(compared)) > 1:
        named = ", ".join(map(str, versions))
        yield f"Several versions of the template are in it ({named}): see one with --version."


def _without(variants: "Sequence[Variant]", named: str | None) -> Iterator[str]:
    """Of channels on which nobody got the baseline."""
    names = [variant.variant for variant in variants] or [None]
    overall = named if named is not None else baseline_of(names)
    for channel in dict.fromkeys(variant.channel for variant in variants):
        there = [variant.variant for variant in variants if variant.channel == channel]
        if overall not in there:
            yield f"On {channel} there is no {overall}: the others are compared with {baseline_of(there)}."
