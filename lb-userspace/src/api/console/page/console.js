// The console: what the agent tells it every second, drawn; what a person does,
// asked of the agent. Text goes in as text only, never as markup.

const $ = (id) => document.getElementById(id);
const SVG = "http://www.w3.org/2000/svg";
const TABS = ["description", "instances", "health-check", "attributes"];
// The chart begins with a minute and grows to five.
const SHORTEST = 60000;
const LONGEST = 300000;
const MOST_BANDS = 8;
// No instance's id has a space.
const OTHERS = "all others";
const COLOURS = ["#2a9d8f", "#e07a3f", "#5b7fd4", "#c9a227", "#b0578d", "#6b9e3f", "#8d6bc9", "#cf5c5c"];

// How things are.
let all = [];
let one = null;
let samples = [];
// What is looked at.
let name = null;
let tab = "description";
let stream = null;

// --- Elements -----------------------------------------------------------

/** An element with properties, attributes (`$name`) and children. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [key, value] of Object.entries(properties)) {
    if (key.startsWith("$")) element.setAttribute(key.slice(1), value);
    else element[key] = value;
  }
  element.append(...children);
  return element;
}

function draw(tag, attributes, text) {
  const element = document.createElementNS(SVG, tag);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  if (text !== undefined) element.textContent = text;
  return element;
}

function facts(list, pairs) {
  list.replaceChildren(...pairs.flatMap(([key, value]) => [make("dt", {}, key), make("dd", {}, value)]));
}

/** Keeps the rows of a table by key, so that focus and hover survive. */
function rows(body, items, key, create, update) {
  const kept = new Map([...body.children].map((row) => [row.dataset.key, row]));
  items.forEach((item, at) => {
    let row = kept.get(key(item));
    if (!row) {
      row = create(item);
      row.dataset.key = key(item);
    }
    kept.delete(key(item));
    update(row, item);
    if (body.children[at] !== row) body.insertBefore(row, body.children[at] ?? null);
  });
  kept.forEach((row) => row.remove());
}

/** Sets a text only when it is another, so that a selection survives. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const plural = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;

// --- Asking the agent ---------------------------------------------------

async function ask(method, path, body) {
  const request = { method, headers: {} };
  if (body !== undefined || method !== "GET") {
    request.headers["content-type"] = "application/json";
    request.body = JSON.stringify(body ?? {});
  }
  let answer;
  try {
    answer = await fetch(path, request);
  } catch {
    throw new Error("the agent does not answer");
  }
  const text = await answer.text();
  if (answer.ok) return text ? JSON.parse(text) : null;
  if (answer.status === 401 && path !== "console/login") begin();
  let said;
  try {
    said = JSON.parse(text).error;
  } catch {
    throw new Error(`the agent answered ${answer.status}`);
  }
  throw new Error(said.hint ? `${said.message}; ${said.hint}` : said.message);
}

const of = (lb, rest = "") => `v1/load-balancers/${encodeURIComponent(lb)}${rest}`;

// --- Being told -----------------------------------------------------------

function listen() {
  stream?.close();
  connection("waiting", "connecting");
  const mine = new EventSource(`console/live${name ? `?lb=${encodeURIComponent(name)}` : ""}`);
  stream = mine;
  mine.addEventListener("history", (event) => {
    samples = JSON.parse(event.data);
  });
  mine.addEventListener("now", (event) => {
    const told = JSON.parse(event.data);
    all = told.all;
    one = told.one;
    if (one) {
      samples.push({ time: told.time, flows: Object.fromEntries(one.backends.map((b) => [b.id, b.flows])) });
      const old = told.time - LONGEST;
      while (samples.length && samples[0].time < old) samples.shift();
    }
    connection("live", "live");
    show();
  });
  mine.onerror = () => {
    connection("lost", "the agent does not answer");
    // Logged out meanwhile, perhaps; the browser does not say.
    if (mine.readyState === EventSource.CLOSED) setTimeout(() => mine === stream && begin(), 1000);
  };
}

function connection(state, text) {
  $("connection").dataset.state = state;
  say($("connection"), text);
}

// --- Where we are -----------------------------------------------------------

function route() {
  const [, lb, which] = location.hash.split("/");
  const before = name;
  name = lb ? decodeURIComponent(lb) : null;
  tab = TABS.includes(which) ? which : "description";
  if (name !== before) {
    one = null;
    samples = [];
    listen();
  }
  show();
}

const link = (lb, which = tab) => `#/${encodeURIComponent(lb)}/${which}`;

// --- Drawing ----------------------------------------------------------------

function show() {
  const entry = () => {
    const a = make("a", {}, make("b"), make("small"));
    return make("li", {}, a);
  };
  rows($("all"), all, (lb) => lb.name, entry, (item, lb) => {
    const a = item.firstChild;
    a.href = link(lb.name);
    a.setAttribute("aria-current", lb.name === name);
    say(a.children[0], lb.name);
    const parts = [`${lb.in_service} in service`];
    if (lb.draining) parts.push(`${lb.draining} draining`);
    if (lb.out_of_service) parts.push(`${lb.out_of_service} out`);
    parts.push(plural(lb.flows, "flow"));
    say(a.children[1], parts.join(" · "));
  });
  $("none").hidden = all.length > 0;
  $("one").hidden = !one;
  document.title = one ? `${one.name} · ebb` : "ebb";
  if (!one) return;

  say($("name"), one.name);
  $("deleting").hidden = !one.deleting;
  for (const which of TABS) {
    const selected = which === tab;
    $(which).hidden = !selected;
    const button = $(`tab-${which}`);
    button.setAttribute("aria-selected", selected);
    button.tabIndex = selected ? 0 : -1;
  }
  ({ description, instances, "health-check": healthCheck, attributes })[tab]();
}

function description() {
  const flows = one.backends.reduce((sum, b) => sum + b.flows, 0);
  const tags = Object.entries(one.elb?.tags ?? {});
  facts($("facts"), [
    ["Name", one.name],
    ["DNS name", one.elb?.vip ?? one.listeners[0]?.address ?? "none: it has no listener"],
    ["Forwarding mode", one.mode],
    ["Status", `${one.backends.filter((b) => b.takes_new).length} of ${plural(one.backends.length, "instance")} in service`],
    ["Open flows", String(flows)],
    ["Created", new Date(one.created).toLocaleString()],
    ...(tags.length ? [["Tags", tags.map(([k, v]) => `${k}=${v}`).join(", ")]] : []),
  ]);
  const cells = [(l) => l.protocol.toUpperCase(), (l) => l.address, (l) => String(l.port), (l) => String(l.backend_port ?? l.port)];
  const row = () => make("tr", {}, ...cells.map((_, at) => make("td", { className: at > 1 ? "n" : "" })));
  const key = (l) => `${l.protocol} ${l.address} ${l.port}`;
  rows($("listeners"), one.listeners, key, row, (tr, l) => cells.forEach((cell, at) => say(tr.children[at], cell(l))));
}

const draining = (b) => b.registration !== "registered";
const drainingText = ({ enabled, timeout }) => (enabled ? `Enabled, ${plural(timeout, "second")}` : "Disabled");

function instances() {
  say($("draining"), drainingText(one.attributes.connection_draining));
  chart();
  rows($("backends"), one.backends, (b) => b.id, backendRow, updateBackend);
}

function backendRow() {
  const act = make("button", { type: "button" });
  act.addEventListener("click", () => {
    const b = one.backends.find((b) => b.id === act.dataset.id);
    if (!b) return;
    if (draining(b)) registerAgain(b);
    else openDeregister({ lb: one, backend: b });
  });
  return make(
    "tr", {},
    make("td", {}, make("b"), make("small")),
    make("td", {}, make("span", { className: "state" })),
    make("td"),
    make("td", { className: "n" }),
    make("td"),
    make("td", {}, act),
  );
}

function updateBackend(row, b) {
  const [id, state, text, flows, drain, act] = row.children;
  say(id.children[0], b.id);
  const weight = b.weight === 1 ? "" : `weight ${b.weight}`;
  say(id.children[1], [b.address === b.id ? "" : b.address, weight].filter(Boolean).join(" · "));
  const kind = draining(b) ? "wait" : b.takes_new ? "good" : "bad";
  state.firstChild.className = `state ${kind}`;
  say(state.firstChild, b.state);
  say(text, b.next_hop_error && !draining(b) ? `${b.description} (${b.next_hop_error})` : b.description);
  say(flows, String(b.flows));
  const button = act.firstChild;
  button.dataset.id = b.id;
  say(button, draining(b) ? "Register again" : "Deregister");
  drainBars(drain, draining(b) ? b.drain : null);
}

/** A drain as two bars that run down: flows and seconds. */
function drainBars(cell, drain) {
  if (!drain) return cell.replaceChildren();
  if (!cell.firstChild) {
    const bar = (kind, label) =>
      make("div", { className: `bar ${kind}`, $role: "progressbar", "$aria-label": label }, make("i"));
    const bars = [bar("flows", "Flows left"), bar("time", "Seconds left")];
    cell.append(make("div", { className: "drain" }, make("span"), ...bars, make("span")));
  }
  const [flows, flowBar, timeBar, time] = cell.firstChild.children;
  const run = (bar, left, whole) => {
    const share = whole ? Math.min(100, (100 * left) / whole) : 0;
    bar.setAttribute("aria-valuenow", Math.round(share));
    bar.firstChild.style.width = `${share}%`;
  };
  say(flows, `${drain.flows_left} of ${plural(drain.flows_at_start, "flow")} left`);
  say(time, `${drain.seconds_left} of ${drain.timeout} s left`);
  run(flowBar, drain.flows_left, drain.flows_at_start);
  run(timeBar, drain.seconds_left, drain.timeout);
}

/** Whose flows are drawn: of many instances the busiest, and the rest as one. */
function bands() {
  const most = new Map();
  for (const s of samples) {
    for (const [id, n] of Object.entries(s.flows)) most.set(id, Math.max(n, most.get(id) ?? 0));
  }
  const ids = [...most.keys()].sort();
  if (ids.length <= MOST_BANDS) return { ids, flows: (s, id) => s.flows[id] ?? 0 };
  const busiest = ids.sort((a, b) => most.get(b) - most.get(a)).slice(0, MOST_BANDS - 1).sort();
  const rest = (s) => Object.entries(s.flows).reduce((sum, [id, n]) => sum + (busiest.includes(id) ? 0 : n), 0);
  return { ids: [...busiest, OTHERS], flows: (s, id) => (id === OTHERS ? rest(s) : (s.flows[id] ?? 0)) };
}

/** Bands of flows, one on the other; the newest at the right. */
function chart() {
  const svg = $("chart");
  const width = Math.max(svg.clientWidth, 200);
  const height = Math.max(svg.clientHeight, 100);
  svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const { ids, flows } = bands();
  const most = Math.max(1, ...samples.map((s) => ids.reduce((sum, id) => sum + flows(s, id), 0)));
  const end = samples.at(-1)?.time ?? 0;
  const span = Math.min(LONGEST, Math.max(SHORTEST, end - (samples[0]?.time ?? end)));
  const x = (time) => width - ((end - time) / span) * width;
  const y = (level) => height - 16 - (level / most) * (height - 34);

  const parts = [];
  const step = span > 120000 ? 60000 : 15000;
  for (let back = step; back < span; back += step) {
    const at = x(end - back);
    const text = step === 60000 ? `−${back / 60000} min` : `−${back / 1000} s`;
    parts.push(draw("line", { x1: at, y1: 0, x2: at, y2: height - 16 }));
    parts.push(draw("text", { x: at, y: height - 4, "text-anchor": "middle" }, text));
  }
  let floor = samples.map(() => 0);
  ids.forEach((id, at) => {
    const top = samples.map((s, i) => floor[i] + flows(s, id));
    const upper = samples.map((s, i) => `${x(s.time).toFixed(1)},${y(top[i]).toFixed(1)}`);
    const lower = samples.map((s, i) => `${x(s.time).toFixed(1)},${y(floor[i]).toFixed(1)}`).reverse();
    const band = draw("polygon", { points: [...upper, ...lower].join(" "), fill: COLOURS[at % COLOURS.length], "data-id": id });
    band.append(draw("title", {}, id));
    parts.push(band);
    floor = top;
  });
  parts.push(draw("text", { x: 6, y: 14 }, plural(most, "flow")));
  svg.replaceChildren(...parts);

  const key = (id) => id;
  const entry = () => make("li", {}, make("i"), make("span"));
  rows($("legend"), ids, key, entry, (item, id) => {
    item.firstChild.style.background = COLOURS[ids.indexOf(id) % COLOURS.length];
    say(item.lastChild, `${id} ${samples.length ? flows(samples.at(-1), id) : 0}`);
  });
}

function healthCheck() {
  const check = one.health_check;
  facts($("check"), check
    ? [
        ["Ping target", check.target],
        ["Timeout", check.timeout ? plural(check.timeout, "second") : "5 seconds, or what fits"],
        ["Interval", plural(check.interval, "second")],
        ["Unhealthy threshold", plural(check.unhealthy_threshold, "failure") + " in a row"],
        ["Healthy threshold", check.healthy_threshold + " passes in a row"],
      ]
    : [["Ping target", "none: registered instances count as healthy"]]);
  const row = () => make("tr", {}, ...Array.from({ length: 4 }, () => make("td")));
  rows($("checks"), one.backends, (b) => b.id, row, (tr, b) => {
    const last = b.last_check;
    const took = last ? ` in ${(last.took_us / 1000).toFixed(1)} ms` : "";
    const texts = [
      b.id,
      b.health + (b.health_by_hand ? ", set by hand" : ""),
      last ? new Date(last.time).toLocaleTimeString() : "",
      last ? (last.error ?? `passed${took}`) : "",
    ];
    texts.forEach((text, at) => say(tr.children[at], text));
  });
}

function attributes() {
  const { connection_draining, idle_timeout, close_rate, nat_source } = one.attributes;
  facts($("settings"), [
    ["Connection draining", drainingText(connection_draining)],
    ["Idle timeout", plural(idle_timeout, "second")],
    ["Forced closes", close_rate ? `at most ${close_rate} per second` : "as fast as possible"],
    ["Backends see", nat_source === "client" || one.mode !== "nat" ? "the client's address" : "ebb's address"],
  ]);
}

// --- Doing ------------------------------------------------------------------

/** A whole number of that range, or the reason why not. */
function whole(text, least, most, what) {
  const value = Number(text);
  if (!/^\d+$/.test(text.trim()) || value < least || value > most) {
    throw new Error(`${what} is a whole number from ${least} to ${most}`);
  }
  return value;
}

/** A dialog: `fill` before it opens, `read` as one types, `save` on Save. */
function dialog(id, { fill, read, save }) {
  const box = $(id);
  const form = box.querySelector("form");
  const fields = form.elements;
  const problem = form.querySelector(".problem");
  const primary = form.querySelector(".primary");
  let subject;
  const check = () => {
    let value;
    let error = null;
    try {
      value = read(fields, subject);
    } catch (e) {
      error = e;
    }
    say(problem, error?.message ?? "");
    for (const field of fields) field.removeAttribute("aria-invalid");
    if (error?.field) fields[error.field].setAttribute("aria-invalid", "true");
    primary.disabled = error !== null;
    return value;
  };
  form.addEventListener("input", check);
  form.querySelector(".cancel").addEventListener("click", () => box.close());
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const value = check();
    if (primary.disabled) return;
    primary.disabled = true;
    try {
      await save(value, subject);
      box.close();
    } catch (error) {
      say(problem, error.message);
    }
    primary.disabled = false;
  });
  return (about) => {
    subject = about;
    fill(fields, about);
    check();
    box.showModal();
  };
}

/** Says which field a problem is about. */
function at(field, work) {
  try {
    return work();
  } catch (error) {
    error.field = field;
    throw error;
  }
}

const openDraining = dialog("draining-dialog", {
  fill(fields, lb) {
    const { enabled, timeout } = lb.attributes.connection_draining;
    fields.enabled.checked = enabled;
    fields.timeout.value = timeout;
  },
  read(fields) {
    const enabled = fields.enabled.checked;
    fields.timeout.disabled = !enabled;
    if (!enabled) return { enabled };
    return { enabled, timeout: at("timeout", () => whole(fields.timeout.value, 1, 3600, "the timeout")) };
  },
  save: (connection_draining, lb) => ask("PATCH", of(lb.name, "/attributes"), { connection_draining }),
});
$("edit-draining").addEventListener("click", () => openDraining(one));
$("edit-draining-too").addEventListener("click", () => openDraining(one));

const openIdle = dialog("idle-dialog", {
  fill(fields, lb) {
    fields.timeout.value = lb.attributes.idle_timeout;
  },
  read: (fields) => at("timeout", () => whole(fields.timeout.value, 1, 4000, "the idle timeout")),
  save: (idle_timeout, lb) => ask("PATCH", of(lb.name, "/attributes"), { idle_timeout }),
});
$("edit-idle").addEventListener("click", () => openIdle(one));

const openCheck = dialog("check-dialog", {
  fill(fields, lb) {
    const check = lb.health_check;
    fields.enabled.checked = Boolean(check);
    fields.target.value = check?.target ?? `TCP:${lb.listeners[0]?.backend_port ?? lb.listeners[0]?.port ?? 80}`;
    fields.interval.value = check?.interval ?? 30;
    fields.timeout.value = check?.timeout ?? 5;
    fields.unhealthy_threshold.value = check?.unhealthy_threshold ?? 2;
    fields.healthy_threshold.value = check?.healthy_threshold ?? 10;
  },
  read(fields, lb) {
    const names = ["target", "interval", "timeout", "unhealthy_threshold", "healthy_threshold"];
    for (const field of names) fields[field].disabled = !fields.enabled.checked;
    if (!fields.enabled.checked) return null;
    const number = (field, least, most, what) => at(field, () => whole(fields[field].value, least, most, what));
    const check = {
      // What this page does not show stays as it is.
      ...lb.health_check,
      target: fields.target.value.trim(),
      interval: number("interval", 1, 300, "the interval"),
      timeout: number("timeout", 1, 60, "the timeout"),
      unhealthy_threshold: number("unhealthy_threshold", 2, 10, "the unhealthy threshold"),
      healthy_threshold: number("healthy_threshold", 2, 10, "the healthy threshold"),
    };
    at("timeout", () => {
      if (check.timeout >= check.interval) throw new Error("the timeout is less than the interval");
    });
    return check;
  },
  save: (health_check, lb) => ask("PUT", of(lb.name, "/health-check"), { health_check }),
});
$("edit-check").addEventListener("click", () => openCheck(one));

const openDeregister = dialog("deregister-dialog", {
  fill(_, { lb, backend }) {
    const { enabled, timeout } = lb.attributes.connection_draining;
    const flows = plural(backend.flows, "open flow");
    say($("deregister-title"), `Deregister ${backend.id}`);
    say($("deregister-what"), enabled
      ? `It gets no new flows from now on. Its ${flows} may end by themselves for ${plural(timeout, "second")}.`
      : `Connection draining is disabled: its ${flows} will be closed at once.`);
  },
  read: () => ({}),
  save: (body, { lb, backend }) => ask("POST", of(lb.name, `/backends/${encodeURIComponent(backend.id)}/deregister`), body),
});

async function registerAgain(b) {
  const problem = $("register").querySelector(".problem");
  say(problem, "");
  try {
    await ask("POST", of(one.name, "/backends"), { id: b.id, address: b.address, weight: b.weight });
  } catch (error) {
    say(problem, error.message);
  }
}

$("register").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const { id, address, weight } = form.elements;
  const problem = form.querySelector(".problem");
  say(problem, "");
  try {
    const backend = { address: address.value.trim(), weight: whole(weight.value, 1, 1000, "the weight") };
    if (id.value.trim()) backend.id = id.value.trim();
    await ask("POST", of(one.name, "/backends"), backend);
    form.reset();
  } catch (error) {
    say(problem, error.message);
  }
});

// --- Tabs and theme ---------------------------------------------------------

for (const which of TABS) {
  $(`tab-${which}`).addEventListener("click", () => {
    location.hash = link(name, which);
  });
}
$("tabs").addEventListener("keydown", (event) => {
  const step = { ArrowRight: 1, ArrowLeft: -1, Home: -TABS.indexOf(tab), End: TABS.length - 1 - TABS.indexOf(tab) }[event.key];
  if (step === undefined) return;
  event.preventDefault();
  const next = TABS[(TABS.indexOf(tab) + step + TABS.length) % TABS.length];
  location.hash = link(name, next);
  $(`tab-${next}`).focus();
});

function theme(which) {
  if (which) document.documentElement.dataset.theme = which;
}
theme(localStorage.getItem("theme"));
$("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  const next = dark ? "light" : "dark";
  localStorage.setItem("theme", next);
  theme(next);
});

// --- Beginning --------------------------------------------------------------

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const problem = form.querySelector(".problem");
  const button = form.querySelector("button");
  say(problem, "");
  button.disabled = true;
  try {
    await ask("POST", "console/login", { key: form.elements.key.value, secret: form.elements.secret.value });
    form.reset();
    await begin();
  } catch (error) {
    say(problem, error.message);
  }
  button.disabled = false;
});

$("logout").addEventListener("click", async () => {
  await ask("POST", "console/logout");
  begin();
});

async function begin() {
  let session;
  try {
    session = await ask("GET", "console/session");
  } catch (error) {
    connection("lost", error.message);
    setTimeout(begin, 2000);
    return;
  }
  say($("version"), session.version);
  $("login").hidden = session.logged_in;
  $("console").hidden = !session.logged_in;
  $("logout").hidden = !(session.keys && session.logged_in);
  if (session.logged_in) {
    listen();
  } else {
    stream?.close();
    connection("waiting", "not logged in");
    $("login").elements.key.focus();
  }
}

addEventListener("hashchange", route);
addEventListener("resize", () => one && tab === "instances" && chart());
const [, first, firstTab] = location.hash.split("/");
name = first ? decodeURIComponent(first) : null;
tab = TABS.includes(firstTab) ? firstTab : "description";
begin();
