// What a page of step-up cannot do without a script: security keys, and handing a grant to the page that asked.
import { create, touch } from "./privguard.js";

const live = document.getElementById("live");

function say(text) {
  live.textContent = text;
  live.className = text ? "caution" : "";
}

// What a key is asked for that signs what a form says, too.
async function optionsFor(form) {
  const body = new URLSearchParams([...new FormData(form), ["options", "1"]]);
  return (await fetch(form.action, { method: "POST", body })).json();
}

// A button that asks the browser for a key, and sends the form with its answer in the hidden input of this name.
function serve(button, attribute, ask, name) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const form = button.closest("form");
    const missing = [...form.elements].find((input) => input.name !== "code" && !input.checkValidity());
    if (missing) {
      missing.reportValidity();
      return;
    }
    if (!window.PublicKeyCredential) {
      say(button.dataset.absent);
      return;
    }
    say(button.dataset.waiting);
    button.disabled = true;
    try {
      const said = ["reason", "ticket", "approve"].some((name) => name in form.elements);
      const options = said ? await optionsFor(form) : JSON.parse(button.getAttribute(attribute));
      form.elements[name].value = JSON.stringify(await ask(options));
      form.submit();
    } catch {
      say(button.dataset.failed);
      button.disabled = false;
      button.focus();
    }
  });
}

for (const button of document.querySelectorAll("[data-get]")) serve(button, "data-get", touch, "assertion");
for (const button of document.querySelectorAll("[data-create]")) serve(button, "data-create", create, "attestation");

for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => print());
}

// Times in the reader's own zone, which is named; the title says UTC.
for (const time of document.querySelectorAll("time")) {
  const style = "date" in time.dataset ? { dateStyle: "medium" } : { dateStyle: "medium", timeStyle: "short" };
  time.title = time.textContent;
  const at = new Date(time.dateTime);
  const lang = document.documentElement.lang;
  const zone = new Intl.DateTimeFormat(lang, { timeZoneName: "short" }).formatToParts(at);
  const named = zone.find((part) => part.type === "timeZoneName").value;
  const text = new Intl.DateTimeFormat(lang, style).format(at);
  time.textContent = "date" in time.dataset ? text : `${text} ${named}`;
}

const grant = document.getElementById("grant");
if (grant) {
  const told = JSON.parse(grant.dataset.grant);
  delete grant.dataset.grant;
  grant.hidden = false;
  if (window.opener) {
    window.opener.postMessage({ type: "privguard-grant", ...told }, location.origin);
    if (grant.dataset.handed) {
      grant.textContent = grant.dataset.handed;
      setTimeout(() => window.close(), 1500);
    }
  } else if (document.querySelector("[data-return]")) {
    sessionStorage.setItem("privguard-grant", JSON.stringify(told)); // of this tab and origin; see taken()
  }
}

document.getElementById("error")?.focus();
