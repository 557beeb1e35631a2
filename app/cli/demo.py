"""``tocsin demo``: the whole system on this machine, and two days of real flights through it."""

import asyncio
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from app.cli.dev import REFUSALS, STARTING, options_of, print_change, until_stopped
from app.cli.output import Refused
from app.demo.page import InboxPage
from app.demo.performance import perform
from app.dev.state import FOLDER
from app.dev.system import DevSystem
from app.dev.welcome import welcome


def demo(
    speed: Annotated[
        float, typer.Option(min=1, help="How much faster than in 2013: 3600 plays an hour a second.")
    ] = 2400,
    passengers: Annotated[int, typer.Option(min=1, max=50, help="Passengers on each flight, on average.")] = 2,
    seed: Annotated[int, typer.Option(help="The same seed generates the same passengers.")] = 2013,
    serve: Annotated[bool, typer.Option("--serve", help="Keep serving afterwards, until Ctrl-C.")] = False,
    folder: Annotated[Path, typer.Option(help="The folder for data, logs, settings and keys.")] = FOLDER,
    gateway_port: Annotated[int, typer.Option(min=0, max=65_535, help="The port, or any other if it's in use.")] = 8080,
    kafka_port: Annotated[int, typer.Option(min=0, max=65_535, help="The port, or any other if it's in use.")] = 9092,
    page_port: Annotated[int, typer.Option(min=0, max=65_535, help="The port, or any other if it's in use.")] = 8090,
) -> None:
    """Play the flights of 8 and 9 February 2013, when a blizzard closed New York's airports, through the real system.

    Cancellations, delays, gates, boarding calls, reminders, offers and surveys are notifications to the flights'
    passengers, who are made up. At the end tables show what became of every one, and what digests, caps, quiet hours,
    fallback and cancels did. The exit status is 0 only if the balance holds.

    Example: `tocsin demo --speed 7200 --serve`
    """
    verdicts: list[bool] = []

    async def run(page: InboxPage) -> None:
        console = Console()
        console.print(STARTING)
        options = options_of(folder, gateway_port, kafka_port, page)
        async with DevSystem(options, print_change) as system, page.served(system.state):
            console.print(welcome(system.state, page.url), highlight=False, soft_wrap=True)
            verdict = await perform(system.state, console, speed=speed, per_flight=passengers, seed=seed)
            verdicts.append(not verdict.faults)
            if serve:
                console.print("\nStill serving; Ctrl-C stops everything.\n")
                console.print(welcome(system.state, page.url), highlight=False, soft_wrap=True)
                await asyncio.Event().wait()

    with closing(InboxPage(page_port)) as page:
        try:
            asyncio.run(until_stopped(run(page)))
        except REFUSALS as error:
            raise Refused(str(error)) from None
    if verdicts != [True]:
        raise typer.Exit(1)
