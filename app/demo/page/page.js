// What an app's own page does with the component, and the demonstration's buttons.

document.querySelector("tocsin-inbox").getToken = async () => (await asked("/token", { method: "POST" })).text();

for (const button of document.querySelectorAll("[data-send]")) {
  button.addEventListener("click", () => send(button));
}

async function send(button) {
  const entry = document.createElement("li");
  entry.textContent = `${button.dataset.send}: …`;
  document.getElementById("log").prepend(entry);
  button.disabled = true;
  try {
    const { id } = await (await asked("/send", { method: "POST", body: button.dataset.send })).json();
    button.disabled = false;
    const { summary } = await (await asked(`/why?id=${encodeURIComponent(id)}`)).json();
    const name = document.createElement("code");
    name.textContent = id;
    entry.replaceChildren(`${button.dataset.send}: ${summary}`, name);
  } catch (error) {
    entry.textContent = `${button.dataset.send}: ${error.message}`;
  } finally {
    button.disabled = false;
  }
}

async function asked(path, options) {
  const response = await fetch(path, options);
  if (!response.ok) throw new Error(`the page's server answered ${response.status}`);
  return response;
}
