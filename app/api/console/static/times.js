// Shows each instant in the viewer's zone; its title keeps UTC. Says when what renews itself can't.
"use strict";
const show = root => {
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
