// Shows each instant in the viewer's zone; its title keeps UTC. Says when what renews itself can't.
"use strict";
const CLOCK = {hour: "2-digit", minute: "2-digit"}, DAY = {month: "2-digit", day: "2-digit"};
const show = root => {
  for (const tick of root.querySelectorAll("text[data-at]:not([data-shown])")) {
    const form = tick.firstChild.data.trim().length > 5 ? {...DAY, ...CLOCK} : CLOCK;
    tick.firstChild.data = new Date(tick.dataset.at).toLocaleString(undefined, form);
    tick.dataset.shown = "yes";
  }
  for (const time of root.querySelectorAll("time:not([data-shown])")) {
    const at = new Date(time.dateTime);
    time.textContent = at.toLocaleString(undefined, {dateStyle: "short", timeStyle: "medium"});
    time.dataset.shown = "yes";
  }
};
show(document);
document.addEventListener("htmx:afterSwap", event => show(event.target));
const away = document.getElementById("away");
document.addEventListener("htmx:sendError", () => { away.hidden = false; });
document.addEventListener("htmx:afterOnLoad", () => { away.hidden = true; });
