// Shows each instant in the viewer's zone; its title keeps UTC.
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
