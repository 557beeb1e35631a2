"""Who gets in, who doesn't, and what a session allows."""

import time

import pytest
from playwright.async_api import expect

from app.api.console.sessions import COOKIE, LASTS_S, Sessions
from tests.calling import key_hash
from tests.e2e.browser.conftest import Window
from tests.e2e.browser.pages import Providers
from tests.e2e.rules.world import World

pytestmark = pytest.mark.asyncio(loop_scope="package")


async def test_a_wrong_key_is_refused_and_the_right_one_let_in(world: World, window: Window) -> None:
    console = await window(key=None)
    await console.open()
    await console.sign_in("admin." + "x" * 43)
    await console.says("This key isn't known")

    await console.sign_in(world.system.state.api_keys["demo"])  # known, but it may neither look nor act
    await console.says("lacks the scope admin")

    await console.sign_in(world.system.state.api_keys["admin"])
    await console.has_heading("Overview")
    await console.shows("Signed in as admin")
    [cookie] = await console.page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")


async def test_whoever_signs_out_is_out_and_the_key_is_asked_for_again(window: Window) -> None:
    console = await window()
    await console.button("Sign out").click()
    await console.open("/dead")

    await expect(console.page.get_by_label("API key")).to_be_focused()


async def test_a_session_that_is_over_ends_at_the_next_click(world: World, window: Window) -> None:
    console = await window()
    secret = world.system.settings.gateway.signing_keys[0].get_secret_value().encode()
    began = int(time.time()) - LASTS_S - 60
    _, over = Sessions(secret, lambda: began).begin("admin", key_hash(world.system.state.api_keys["admin"]))
    [cookie] = await console.page.context.cookies()
    await console.page.context.add_cookies([{"name": COOKIE, "value": over, "url": console.url}])
    assert cookie["name"] == COOKIE
    await console.page.get_by_role("link", name="Dead letters", exact=True).click()

    await console.says("Your session is over")


async def test_a_form_of_another_session_changes_nothing(window: Window) -> None:
    console = await window()
    await console.choose("Providers")
    row = Providers(console).row("fcm")
    await row.locator('input[name="csrf"]').evaluate("input => { input.value = 'somebody else’s' }")
    await row.get_by_placeholder("Why").fill("no reason")
    await row.get_by_role("button", name="Pause").click()

    await console.says("this form isn't one of your session")
    await console.choose("Providers")
    await expect(console.page.locator(".state.paused")).to_have_count(0)


async def test_a_reader_sees_everything_and_can_press_nothing(window: Window) -> None:
    console = await window(key="reader")
    await console.shows("(read only)")
    for name in ("Providers", "After an outage", "Dead letters", "Policy", "Templates", "Audit log"):
        await console.choose(name)
        await expect(console.page.get_by_role("main").locator('form[method="post"]')).to_have_count(0)
    # … not even with a form of their own making
    await console.page.evaluate(
        """() => {
          const form = document.createElement("form");
          const csrf = document.querySelector('input[name="csrf"]');
          form.method = "post"; form.action = "/console/providers/fcm/pause"; form.id = "made";
          if (csrf) form.append(csrf.cloneNode());
          document.body.append(form);
        }"""
    )
    await console.page.locator("#made").evaluate("form => form.submit()")
    await console.has_heading("That was refused")
    await console.choose("Providers")
    await expect(console.page.locator(".state.paused")).to_have_count(0)
