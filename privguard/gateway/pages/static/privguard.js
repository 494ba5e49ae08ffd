/**
 * Clear values in a front end behind privguard: asks, proves a second factor in a dialog, asks again.
 *
 *   import * as privguard from "/_privguard/privguard.js";
 *   const answer = await privguard.reveal("/clients/42", ["mobile"], { reason: "client asked for a call" });
 *
 * No dependencies; needs a browser of 2022 or later. Words in English and Chinese, by the page's `lang`.
 */

const API = "/_privguard/v1/stepup/";
const PROBLEM = "urn:privguard:problem:";
const POLL_MS = 3000;

// -- asking ------------------------------------------------------------------------------------------------

/** Grants that were had in this page, by what they were asked for: {secret, until}. Nowhere else, never stored. */
const grants = new Map();

/**
 * `fetch`, but a refusal that a second factor or a reason would lift is lifted in a dialog, and asked again once.
 *
 * Who cancels the dialog leaves the caller with the refusal. Requests to other origins go out as they are.
 */
export async function fetch(input, init) {
  const request = new Request(input, init);
  if (new URL(request.url).origin !== location.origin) return globalThis.fetch(request);
  const known = grants.get(keyOf(request));
  if (known && known.until > Date.now()) request.headers.set("Privguard-Grant", text(known.secret));
  let answer = await globalThis.fetch(request.clone());
  let problem = await problemOf(answer);
  if (request.headers.has("Privguard-Grant") && problem?.name === "step-up-required") {  // it is spent or over
    grants.delete(keyOf(request));
    request.headers.delete("Privguard-Grant");
    answer = await globalThis.fetch(request.clone());
    problem = await problemOf(answer);
  }
  if (problem?.name === "reason-required") {
    const said = await new Dialog(problem).askWhy();
    if (!said) return answer;
    for (const [header, value] of Object.entries(said)) if (value) request.headers.set(header, text(value));
    answer = await globalThis.fetch(request.clone());
    problem = await problemOf(answer);
  }
  if (problem?.name !== "step-up-required" || !problem.challenge_id) return answer;
  const made = await new Dialog(problem, request.headers.get("Authorization")).prove();
  if (!made) return answer;
  grants.set(keyOf(request), { secret: made.grant, until: Date.now() + made.expires_in * 1000 });
  request.headers.set("Privguard-Grant", text(made.grant));
  return globalThis.fetch(request);
}

/**
 * Looks again, with these fields in clear.
 *
 * `fields` are paths or classes; `init` is fetch's, with `purpose`, `reason` and `ticket` beside.
 */
export function reveal(input, fields, { purpose, reason, ticket, ...init } = {}) {
  const headers = new Headers(init.headers);
  headers.set("Privguard-Reveal", fields.map(text).join(", "));
  if (purpose) headers.set("Privguard-Purpose", text(purpose));
  if (reason) headers.set("Privguard-Reason", text(reason));
  if (ticket) headers.set("Privguard-Ticket", text(ticket));
  return fetch(input, { ...init, headers });
}

/** The grant of a page of step-up that this tab came back from (`return_to`), once; null where there is none. */
export function taken() {
  const told = sessionStorage.getItem("privguard-grant");
  sessionStorage.removeItem("privguard-grant");
  return JSON.parse(told);
}

/** Whether clear values could be had of what a masked answer shows. */
export function revealable(answer) {
  return (answer.headers.get("Link") ?? "").includes('rel="privguard-stepup"');
}

/** How each field of an answer left: {mobile: "masked", ...}; empty where the header is too long to be there. */
export function views(answer) {
  const found = {};
  for (const member of (answer.headers.get("Privguard-Fields") ?? "").split(/,\s*(?=["\w])/)) {
    const [, name, view] = /^"?([^";]+)"?;view=(\w+)/.exec(member) ?? [];
    if (name) found[name] = view;
  }
  return found;
}

function keyOf(request) {
  const said = ["Privguard-Reveal", "Privguard-Purpose", "Privguard-Ticket"];
  return [request.method, request.url, ...said.map((name) => request.headers.get(name))].join("\n");
}

async function problemOf(answer) {
  if (answer.ok || !(answer.headers.get("Content-Type") ?? "").startsWith("application/problem+json")) return null;
  const problem = await answer.clone().json();
  return { ...problem, name: String(problem.type).replace(PROBLEM, "") };
}

/** A string as a structured field (RFC 9651): quoted, or percent-encoded where it is not ASCII. */
function text(value) {
  if (/^[ -~]*$/.test(value)) return `"${value.replace(/["\\]/g, "\\$&")}"`;
  const bytes = [...new TextEncoder().encode(value)];
  const plain = (byte) => byte >= 32 && byte < 127 && byte !== 37 && byte !== 34;
  const hex = (byte) => "%" + byte.toString(16).padStart(2, "0");
  return `%"${bytes.map((byte) => (plain(byte) ? String.fromCharCode(byte) : hex(byte))).join("")}"`;
}

// -- security keys -----------------------------------------------------------------------------------------

const bytesOf = (base64url) =>
  Uint8Array.from(atob(base64url.replace(/-/g, "+").replace(/_/g, "/")), (char) => char.charCodeAt(0));
const textOf = (buffer) =>
  btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
const named = (list) => (list ?? []).map((each) => ({ ...each, id: bytesOf(each.id) }));

function told(credential, response) {
  return {
    id: credential.id,
    rawId: textOf(credential.rawId),
    type: credential.type,
    authenticatorAttachment: credential.authenticatorAttachment,
    clientExtensionResults: credential.getClientExtensionResults(),
    response,
  };
}

/** Has a key sign; `options` as the API gives them. */
export async function touch(options) {
  const publicKey = {
    ...options,
    challenge: bytesOf(options.challenge),
    allowCredentials: named(options.allowCredentials),
  };
  const credential = await navigator.credentials.get({ publicKey });
  const { clientDataJSON, authenticatorData, signature, userHandle } = credential.response;
  const response = {
    clientDataJSON: textOf(clientDataJSON),
    authenticatorData: textOf(authenticatorData),
    signature: textOf(signature),
  };
  if (userHandle) response.userHandle = textOf(userHandle);
  return told(credential, response);
}

/** Registers a key; `options` as the API gives them. */
export async function create(options) {
  const publicKey = {
    ...options,
    challenge: bytesOf(options.challenge),
    user: { ...options.user, id: bytesOf(options.user.id) },
    excludeCredentials: named(options.excludeCredentials),
  };
  const credential = await navigator.credentials.create({ publicKey });
  return told(credential, {
    clientDataJSON: textOf(credential.response.clientDataJSON),
    attestationObject: textOf(credential.response.attestationObject),
    transports: credential.response.getTransports?.() ?? [],
  });
}

// -- the dialog --------------------------------------------------------------------------------------------

const WORDS = {
  en: {
    title: "See clear values",
    why: "Say why first",
    fields: "Fields: ",
    comma: ", ",
    record: "the record itself",
    reason: "Why do you need this?",
    ticket: "Ticket, where the rule asks for one",
    totp: "6-digit code from your authenticator app",
    code: "8-digit code that was sent to you",
    key: "Use a security key or passkey",
    send: "Send me a code",
    sent: "A code is on its way. It is good for 5 minutes.",
    or: "or by a code",
    show: "Show clear values",
    next: "Go on",
    cancel: "Cancel",
    wrong: "Not accepted. Try again with a fresh code, or in a while.",
    failed: "The key was not used: it was cancelled, took too long, or is not one of yours. Try again.",
    none: "None of your factors does for this.",
    add: "Add a factor",
    waits: "A second person has to approve this. This stays open and goes on by itself.",
    refused: "It was refused, or it is too late.",
    other: "This did not work: ",
  },
  zh: {
    title: "查看明文",
    why: "请先说明事由",
    fields: "字段：",
    comma: "、",
    record: "整条记录",
    reason: "为什么需要查看？",
    ticket: "工单号（规则要求时）",
    totp: "验证器应用中的 6 位数字",
    code: "发送给您的 8 位数字",
    key: "使用安全密钥或通行密钥",
    send: "发送验证码",
    sent: "验证码已发送，5 分钟内有效。",
    or: "或使用验证码",
    show: "显示明文",
    next: "继续",
    cancel: "取消",
    wrong: "验证未通过。请用新的验证码重试，或稍后再试。",
    failed: "未能使用密钥：已取消、超时或不是您的密钥。请重试。",
    none: "您的验证方式均不适用。",
    add: "添加验证方式",
    waits: "须由另一人授权（双人授权）。请保持此窗口打开，授权后会自动继续。",
    refused: "申请被拒绝，或已超时。",
    other: "操作未成功：",
  },
};

const STYLE = `
:host { all: initial; }
dialog { color-scheme: light dark; --paper: #fff; --ink: #1d2026; --soft: #5a616c; --field: #878d98;
  --accent: #1f4fa3; --on-accent: #fff; --amber: #8a4b00; --amber-paper: #fff3dc; --red: #a3181f;
  box-sizing: border-box; width: min(26rem, calc(100vw - 2rem)); padding: 1.25rem; border: 1px solid var(--field);
  border-radius: 8px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", "Noto Sans", "Noto Sans SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
@media (prefers-color-scheme: dark) { dialog { --paper: #1c1f25; --ink: #e8e9ec; --soft: #a5abb6; --field: #7c8492;
  --accent: #8fb4ff; --on-accent: #0d1526; --amber: #ffc46b; --amber-paper: #33270f; --red: #ff9b9b; } }
dialog::backdrop { background: rgb(0 0 0 / .45); }
h2 { font-size: 1.2rem; margin: 0 0 .5rem; }
p { margin: .5rem 0; overflow-wrap: anywhere; }
mark { background: var(--amber-paper); color: var(--amber); font-weight: 600; padding: .1rem .35rem; border-radius: 3px; }
label { display: block; font-weight: 600; margin-top: .75rem; }
input { box-sizing: border-box; width: 100%; font: inherit; color: inherit; background: transparent;
  border: 1px solid var(--field); border-radius: 4px; padding: .5rem .7rem; margin-top: .25rem; }
button { font: inherit; font-weight: 600; border: 1px solid var(--accent); border-radius: 4px; padding: .5rem 1rem;
  margin: .75rem .5rem 0 0; background: transparent; color: var(--accent); cursor: pointer; min-height: 2.75rem; }
button.main { background: var(--accent); color: var(--on-accent); }
button[disabled] { opacity: .6; cursor: progress; }
a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.or { color: var(--soft); margin-top: 1rem; }
[role=alert]:not(:empty) { color: var(--red); }
`;

/** One dialog for one refusal: its own shadow tree, so that neither page nor dialog restyles the other. */
class Dialog {
  constructor(problem, authorization) {
    this.problem = problem;
    this.headers = { "Content-Type": "application/json", ...(authorization && { Authorization: authorization }) };
    this.lang = (document.documentElement.lang || navigator.language).toLowerCase().startsWith("zh") ? "zh" : "en";
    this.words = WORDS[this.lang];
    this.host = document.createElement("div");
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    const root = this.host.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [sheet];
    this.box = make("dialog", { lang: this.lang === "zh" ? "zh-CN" : "en" });
    this.box.setAttribute("aria-labelledby", "title");
    this.alert = make("p", { role: "alert" });
    root.append(this.box);
  }

  /** Asks for a reason and a ticket: headers, or null where it was cancelled. */
  askWhy() {
    const reason = make("input", { id: "reason", maxLength: 1000, required: true, autocomplete: "off" });
    const ticket = make("input", { id: "ticket", maxLength: 64, autocomplete: "off" });
    const parts = [label(reason, this.words.reason), reason, label(ticket, this.words.ticket), ticket];
    return this.open(this.words.why, parts, this.words.next, async () => ({
      "Privguard-Reason": reason.value,
      "Privguard-Ticket": ticket.value,
    }));
  }

  /** Proves a factor: the grant as the API tells it, or null where it was cancelled. */
  prove() {
    const { methods, fields } = this.problem;
    const kind = methods.includes("totp") ? "totp" : methods.includes("code") ? "code" : "";
    const shown = make("mark", {}, fields.length ? fields.join(this.words.comma) : this.words.record);
    const parts = [make("p", {}, this.words.fields, shown)];
    const code = make("input", { id: "code", autocomplete: "one-time-code", inputMode: "numeric", maxLength: 16 });
    if (methods.includes("webauthn")) {
      const button = make("button", { type: "button", className: "main" }, this.words.key);
      button.addEventListener("click", () => this.run(() => this.byKey()));
      parts.push(button);
      if (kind) parts.push(make("p", { className: "or" }, this.words.or));
    }
    if (kind === "code") {
      const button = make("button", { type: "button" }, this.words.send);
      button.addEventListener("click", () => this.run(() => this.send()));
      parts.push(button);
    }
    if (kind) parts.push(label(code, this.words[kind]), code);
    if (!methods.length) {
      const link = make("a", { href: "/_privguard/stepup/factors", target: "_blank", rel: "noopener" }, this.words.add);
      parts.push(make("p", {}, this.words.none, " ", link));
    }
    const submit = kind ? this.words.show : "";
    return this.open(this.words.title, parts, submit, () => this.meet({ method: kind, code: code.value }));
  }

  /** Shows the dialog until `work`, or what a button runs, gives something; null where it is closed before. */
  open(title, parts, submit, work) {
    const cancel = make("button", { type: "button" }, this.words.cancel);
    cancel.addEventListener("click", () => this.box.close());
    const form = make("form", { method: "dialog" }, make("h2", { id: "title" }, title), ...parts, this.alert);
    const main = parts.some((part) => part.className === "main") ? "" : "main";
    if (submit) form.append(make("button", { className: main }, submit));
    form.append(cancel);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run(work);
    });
    this.box.append(form);
    document.body.append(this.host);
    this.box.showModal();
    return new Promise((resolve) => {
      this.found = null;
      this.box.addEventListener("close", () => {
        this.host.remove();
        resolve(this.found);
      });
    });
  }

  /** Runs a step with the buttons off; what it gives closes the dialog, what it throws is said. */
  async run(work) {
    const buttons = [...this.box.querySelectorAll("button")].filter((each) => each.textContent !== this.words.cancel);
    for (const button of buttons) button.disabled = true;
    this.alert.textContent = "";
    try {
      this.found = (await work()) ?? null;
      if (this.found) this.box.close();
    } catch (error) {
      this.alert.textContent = error.said ?? this.words.failed;
      this.box.querySelector("input")?.focus();
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  }

  async byKey() {
    const options = await this.call("options", { method: "webauthn" });
    return this.meet({ method: "webauthn", assertion: await touch(options) });
  }

  async send() {
    await this.call("options", { method: "code" });
    this.alert.textContent = this.words.sent;
  }

  async meet(proof) {
    const made = await this.call("grants", { proof });
    return made.status_uri ? this.approved(made) : made;
  }

  /** Waits for a second person, as long as the dialog is open. */
  async approved(made) {
    this.alert.textContent = this.words.waits;
    while (this.box.open) {
      const answer = await globalThis.fetch(made.status_uri, { headers: this.headers });
      const { state } = await answer.json();
      if (state === "active") return made;
      if (state !== "pending") throw Object.assign(new Error(state), { said: this.words.refused });
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return null;
  }

  async call(path, body) {
    const sent = JSON.stringify({ challenge_id: this.problem.challenge_id, ...body });
    const answer = await globalThis.fetch(API + path, { method: "POST", headers: this.headers, body: sent });
    if (answer.ok) return answer.json();
    const problem = await problemOf(answer);
    const said = problem?.name === "factor-refused" ? this.words.wrong : this.words.other + (problem?.detail ?? "");
    throw Object.assign(new Error(String(answer.status)), { said });
  }
}

function make(name, properties, ...children) {
  const { role, ...rest } = properties;
  const made = Object.assign(document.createElement(name), rest);
  if (role) made.setAttribute("role", role);
  made.append(...children);
  return made;
}

function label(input, said) {
  return make("label", { htmlFor: input.id }, said);
}
