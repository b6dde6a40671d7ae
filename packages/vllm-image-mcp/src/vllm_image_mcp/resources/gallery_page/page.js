// The gallery: shows the images of a tool's result in the window of a host that supports MCP Apps.
//
// Everything, including the images, comes from the host over postMessage; nothing is loaded from elsewhere. Text from
// results is inserted as text, never as markup.

const THUMBNAIL = 448;
const LARGE = 1600;
const AT_ONCE = 4;
const POLL_MS = 3000;
const MORE = 4;
const GOING_ON = ["running", "paused"];
const TAKEN_BY_BATCH = ["negative_prompt", "width", "height", "num_inference_steps", "guidance_scale"];

const $ = (id) => document.getElementById(id);

/* The host -------------------------------------------------------------------------------------------------------- */

class Host {
  #last = 0;
  #waiting = new Map();
  capabilities = {};
  on = {};

  constructor() {
    window.addEventListener("message", (event) => {
      if (event.source === window.parent && event.data?.jsonrpc === "2.0") this.#take(event.data);
    });
  }

  #take(message) {
    if (message.method === undefined) {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if (message.error) waiting?.reject(new Error(String(message.error.message ?? "The host refused.")));
      else waiting?.resolve(message.result);
    } else if (message.id === undefined) this.on[message.method]?.(message.params ?? {});
    else if (["ping", "ui/resource-teardown"].includes(message.method)) this.#post({ id: message.id, result: {} });
    else this.#post({ id: message.id, error: { code: -32601, message: "Method not found" } });
  }

  #post(message) {
    window.parent.postMessage({ jsonrpc: "2.0", ...message }, "*");
  }

  ask(method, params) {
    const id = ++this.#last;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#post({ id, method, params });
    });
  }

  tell(method, params) {
    this.#post({ method, ...(params && { params }) });
  }

  can(what) {
    return this.capabilities?.[what] !== undefined;
  }
}

const host = new Host();

/* What a result says ---------------------------------------------------------------------------------------------- */

/** The structured content; if a host left it out, the same content parsed from the text. */
function said(result) {
  if (result.structuredContent) return result.structuredContent;
  for (const block of result.content ?? []) {
    if (block.type !== "text" || !block.text.startsWith("{")) continue;
    try {
      return JSON.parse(block.text);
    } catch {
      // not JSON after all
    }
  }
  return null;
}

/** The images of a batch, a search or a single call, all in the same form. */
function picturesOf(content) {
  const listed = content.results ?? content.images ?? [content];
  return listed.map((each, position) => {
    const used = each.parameters_used ?? {};
    const own = each.parameters ?? {};
    const { model, steps, ...rest } = used;
    const parameters = {
      prompt: each.prompt ?? own.prompt ?? used.prompt ?? "",
      ...content.parameters,
      ...own,
      ...rest,
      ...(steps !== undefined && { num_inference_steps: steps }),
      ...(each.seed !== undefined && each.seed !== null && { seed: each.seed }),
    };
    return {
      number: each.index ?? position,
      batch: content.batch_id ?? each.batch_id ?? null,
      model: each.model ?? content.model ?? model ?? null,
      uri: each.uri ?? null,
      path: each.file_path ?? null,
      state: each.uri || each.file_path ? "done" : (each.status ?? "waiting"),
      error: each.error ?? null,
      parameters: withoutNothing(parameters),
    };
  });
}

function withoutNothing(values) {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== null && value !== undefined));
}

/* The page's state ------------------------------------------------------------------------------------------------ */

let pictures = [];
const batches = new Map();
let running = null;
const picked = new Set();
const loaded = new Map();
let shown = null;

const keyOf = (picture) => `${picture.batch ?? ""}#${picture.number}`;

function take(result) {
  const content = result.isError ? null : said(result);
  if (content === null) {
    const text = (result.content ?? []).filter((block) => block.type === "text").map((block) => block.text);
    status(text.join(" ").slice(0, 500) || "There is nothing to show.");
    return;
  }
  const name = content.batch_id ?? "";
  batches.set(name, content);
  pictures = [...batches.values()].flatMap(picturesOf);
  const going = GOING_ON.includes(content.status);
  running = going ? content.batch_id : null;
  summarise(content, going);
  draw();
  if (going) poll();
  else completeFrom(content.batch_id);
}

function summarise(content, going) {
  const done = pictures.filter((picture) => picture.state === "done").length;
  const failed = pictures.filter((picture) => picture.state === "failed").length;
  const model = pictures.find((picture) => picture.model)?.model;
  const parts = [
    going ? `${done} of ${pictures.length} finished` : `${done} ${done === 1 ? "image" : "images"}`,
    failed ? `${failed} failed` : "",
    ["cancelled", "interrupted", "stopped", "paused"].includes(content.status) ? content.status : "",
    going && content.seconds_left > 0 ? `about ${Math.ceil(content.seconds_left)} s left` : "",
    model ?? "",
  ];
  status(parts.filter(Boolean).join(" · "));
  $("progress").hidden = !going;
  $("progress").max = Math.max(1, pictures.length);
  $("progress").value = done;
}

function status(text) {
  $("status").textContent = text;
}

let polling = null;

/** While a batch runs, poll its state; a host that does not let us call tools sends the final result itself. */
function poll() {
  if (polling !== null || !host.can("serverTools")) return;
  polling = setTimeout(async () => {
    polling = null;
    const batch = running;
    try {
      const given = { batch_id: batch, wait: false };
      const result = await host.ask("tools/call", { name: "get_batch", arguments: given });
      if (running === batch && !result.isError) take(result);
    } catch {
      poll();
    }
  }, POLL_MS);
}

/** Results cut long prompts; the batch's resource has them in full. */
async function completeFrom(batch) {
  if (!batch || !host.can("serverResources")) return;
  try {
    const { contents } = await host.ask("resources/read", { uri: `batch://${batch}` });
    const images = JSON.parse(contents[0].text).images ?? [];
    const complete = new Map(images.map((image) => [image.uri, image.parameters]));
    for (const picture of pictures) Object.assign(picture.parameters, withoutNothing(complete.get(picture.uri) ?? {}));
  } catch {
    // what the result says is enough
  }
}

/* Images ---------------------------------------------------------------------------------------------------------- */

const queue = [];
let loading = 0;

/** An image from the server as a data: address, scaled to a width. */
function load(picture, width) {
  const uri = `${picture.uri}?width=${width}&format=webp`;
  if (!loaded.has(uri)) {
    const promise = new Promise((resolve, reject) => queue.push({ uri, resolve, reject }));
    promise.catch(() => loaded.delete(uri));
    loaded.set(uri, promise);
    pump();
  }
  return loaded.get(uri);
}

async function pump() {
  if (loading >= AT_ONCE || queue.length === 0) return;
  loading++;
  const { uri, resolve, reject } = queue.shift();
  try {
    const { contents } = await host.ask("resources/read", { uri });
    const type = /^image\/(png|jpeg|webp)$/.test(contents[0].mimeType) ? contents[0].mimeType : "image/webp";
    resolve(`data:${type};base64,${contents[0].blob}`);
  } catch (error) {
    reject(error);
  }
  loading--;
  pump();
}

const canLoad = (picture) => host.can("serverResources") && Boolean(picture.uri?.startsWith("image://"));

/* The grid -------------------------------------------------------------------------------------------------------- */

const tiles = new Map();

function draw() {
  const single = pictures.length === 1;
  $("title").textContent = single ? "Image" : "Images";
  for (const picture of pictures) {
    const key = keyOf(picture);
    if (!tiles.has(key)) tiles.set(key, tile(key));
    fill(tiles.get(key), picture);
  }
  $("grid").replaceChildren(...pictures.map((picture) => tiles.get(keyOf(picture)).root));
  const openers = [...$("grid").querySelectorAll(".open:not(:disabled)")];
  if (!openers.some((opener) => opener.tabIndex === 0) && openers.length) openers[0].tabIndex = 0;
  drawBar();
}

const pictureAt = (key) => pictures.find((picture) => keyOf(picture) === key);

function tile(key) {
  const root = element("li", "tile");
  const open = element("button", "open");
  open.type = "button";
  open.tabIndex = -1;
  const why = element("span", "why");
  open.append(why);
  const pick = element("button", "pick");
  pick.type = "button";
  pick.tabIndex = -1;
  const number = element("span", "number");
  number.ariaHidden = "true";
  const caption = element("p", "caption");
  const seed = element("p", "seed");
  root.append(open, number, pick, caption, seed);
  open.addEventListener("click", () => enlarge(key));
  pick.addEventListener("click", () => toggle(key));
  open.addEventListener("focus", () => {
    for (const each of $("grid").querySelectorAll(".open")) each.tabIndex = each === open ? 0 : -1;
  });
  root.addEventListener("keydown", (event) => pressed(event, key));
  // Some browsers click a button when the space bar comes up again.
  open.addEventListener("keyup", (event) => event.key === " " && event.preventDefault());
  return { root, open, why, pick, number, caption, seed, image: null };
}

function fill(parts, picture) {
  const done = picture.state === "done";
  const { prompt, seed, width, height } = picture.parameters;
  parts.root.classList.toggle("failed", picture.state === "failed");
  parts.root.classList.toggle("picked", picked.has(keyOf(picture)));
  parts.open.disabled = !done;
  parts.open.style.setProperty("--shape", width > 0 && height > 0 ? `${width} / ${height}` : "1");
  parts.open.ariaLabel = `Enlarge image ${label(picture)}: ${prompt}`;
  parts.pick.hidden = !done;
  parts.pick.ariaPressed = String(picked.has(keyOf(picture)));
  parts.pick.ariaLabel = `Pick image ${label(picture)}`;
  parts.pick.textContent = picked.has(keyOf(picture)) ? "✓" : "+";
  parts.number.textContent = label(picture);
  parts.number.hidden = pictures.length === 1;
  parts.caption.textContent = prompt;
  parts.caption.title = prompt;
  parts.seed.textContent = seed === undefined ? "" : `Seed ${seed}`;
  if (parts.image) return;
  parts.why.textContent = done ? (canLoad(picture) ? "…" : (picture.path ?? "")) : waitingWords(picture);
  if (done && canLoad(picture)) show(parts, picture);
}

/** Its number in the batch, as on the contact sheet, after the number of the batch if there are several. */
function label({ batch, number }) {
  return batches.size > 1 ? `${[...batches.keys()].indexOf(batch ?? "") + 1}·${number}` : String(number);
}

function waitingWords(picture) {
  if (picture.error) return picture.error;
  return picture.state === "cancelled" ? "Cancelled" : "Not generated yet";
}

async function show(parts, picture) {
  const image = new Image();
  image.alt = "";
  parts.image = image;
  try {
    image.src = await load(picture, THUMBNAIL);
    parts.why.replaceWith(image);
  } catch (error) {
    parts.image = null;
    parts.why.textContent = error.message;
  }
}

function element(name, className) {
  const made = document.createElement(name);
  made.className = className;
  return made;
}

function pressed(event, key) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const open = event.target.closest(".open");
  if (!open) return;
  const openers = [...$("grid").querySelectorAll(".open:not(:disabled)")];
  const at = openers.indexOf(open);
  const columns = openers.filter((each) => each.offsetTop === openers[0].offsetTop && sameRow(each, openers[0])).length;
  const moves = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
  if (event.key in moves) openers[at + moves[event.key]]?.focus();
  else if (event.key === "Home") openers[0].focus();
  else if (event.key === "End") openers.at(-1).focus();
  else if (event.key === " ") toggle(key);
  else if (event.key.toLowerCase() === "c") copy([pictureAt(key)]);
  else if (event.key.toLowerCase() === "m") more([pictureAt(key)]);
  else return;
  event.preventDefault();
}

function sameRow(one, other) {
  return Math.abs(one.getBoundingClientRect().top - other.getBoundingClientRect().top) < 2;
}

/* Picking --------------------------------------------------------------------------------------------------------- */

const chosen = () => pictures.filter((picture) => picked.has(keyOf(picture)));

function toggle(key) {
  if (!picked.delete(key)) picked.add(key);
  changed();
}

function changed() {
  for (const picture of pictures) fill(tiles.get(keyOf(picture)), picture);
  drawBar();
  if (shown !== null) drawPick();
  if (host.can("updateModelContext")) {
    const context = {
      content: [{ type: "text", text: pickedWords() }],
      structuredContent: { picked: chosen().map(brief) },
    };
    host.ask("ui/update-model-context", context).catch(() => {});
  }
}

function drawBar() {
  const count = chosen().length;
  $("bar").hidden = count === 0;
  $("count").textContent = `${count} picked`;
  $("bar-more").textContent = count === 1 ? "More like it" : "More like these";
  $("bar-use").textContent = count === 1 ? "Continue with it" : "Continue with these";
  $("bar-use").hidden = !host.can("message");
}

const brief = ({ number, batch, uri, path, parameters }) =>
  withoutNothing({ number, batch_id: batch, uri, file_path: path, seed: parameters.seed });

function named(some) {
  const words = some.map(
    ({ number, batch, path, parameters }) =>
      `image ${number}${batch ? ` of ${batch}` : ""} (${path}, seed ${parameters.seed ?? "unknown"})`,
  );
  return words.join("; ");
}

function pickedWords() {
  const some = chosen();
  return some.length ? `In the gallery I picked ${named(some)}.` : "In the gallery I have not picked anything.";
}

/* What can be done with images ------------------------------------------------------------------------------------ */

async function copy(some) {
  const each = some.map((picture) => withoutNothing({ model: picture.model, ...picture.parameters }));
  const text = JSON.stringify(each.length === 1 ? each[0] : each, null, 2);
  if (await onClipboard(text)) toast(each.length === 1 ? "Parameters copied" : `Parameters of ${each.length} copied`);
  else {
    $("sheet-text").value = text;
    $("sheet").showModal();
    $("sheet-text").select();
  }
}

async function onClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copiedByHand(text);
  }
}

/** For hosts that grant no clipboard permission: selected text can still be copied while a key is pressed. */
function copiedByHand(text) {
  const focused = document.activeElement;
  const area = document.createElement("textarea");
  area.value = text;
  ($("viewer").open ? $("viewer") : document.body).append(area);
  area.select();
  const copied = document.execCommand("copy");
  area.remove();
  focused?.focus();
  return copied;
}

/** Get more images like these: ask the assistant or, if the host does not allow that, the server. */
async function more(some) {
  const wanted = some.map((picture) => {
    const { seed, ...rest } = picture.parameters;
    return { picture, rest };
  });
  if (host.can("message")) {
    const each = wanted.map(({ picture, rest }) => `Like ${named([picture])}: ${JSON.stringify(rest)}`);
    const text = `Generate ${MORE} more images like ${some.length === 1 ? "this one" : "each of these"}, with the same `
      + `prompt and settings and new seeds.\n${each.join("\n")}`;
    await say(text, "The assistant was asked for more.");
  } else if (host.can("serverTools")) await make(wanted);
  else toast("This host does not let the gallery request images.");
}

async function say(text, afterwards) {
  try {
    const result = await host.ask("ui/message", { role: "user", content: [{ type: "text", text }] });
    toast(result?.isError ? "The host did not pass on the message." : afterwards);
  } catch (error) {
    toast(error.message);
  }
}

async function make(wanted) {
  for (const { rest } of wanted) {
    const settings = Object.fromEntries(Object.entries(rest).filter(([name]) => TAKEN_BY_BATCH.includes(name)));
    toast(`Generating ${MORE} more.`);
    try {
      const prompts = Array.from({ length: MORE }, () => rest.prompt);
      const result = await host.ask("tools/call", { name: "batch_generate", arguments: { prompts, ...settings } });
      if (result.isError) toast(result.content?.[0]?.text?.slice(0, 200) ?? "It failed.");
      else take(result);
    } catch (error) {
      toast(error.message);
    }
  }
}

let toasting = null;

function toast(text) {
  $("toast").textContent = text;
  $("toast").hidePopover();
  $("toast").showPopover(); // above a dialog that is already open
  clearTimeout(toasting);
  toasting = setTimeout(() => $("toast").hidePopover(), 3500);
}

/* The large image ------------------------------------------------------------------------------------------------- */

const FACTS = {
  model: "Model",
  size: "Size",
  seed: "Seed",
  num_inference_steps: "Steps",
  guidance_scale: "Guidance",
  negative_prompt: "Without",
  path: "File",
};

function enlarge(key) {
  shown = key;
  if (!$("viewer").open) {
    document.body.classList.add("viewing");
    $("viewer").showModal();
    $("viewer-close").focus();
  }
  const picture = pictureAt(key);
  const { prompt, width, height } = picture.parameters;
  const facts = { ...picture.parameters, model: picture.model, path: picture.path };
  if (width && height) facts.size = `${width} × ${height}`;
  $("viewer-title").textContent = pictures.length === 1 ? "Image" : `Image ${label(picture)}`;
  $("viewer-prompt").textContent = prompt;
  $("viewer-facts").replaceChildren(
    ...Object.entries(FACTS).flatMap(([name, label]) => {
      if (facts[name] === undefined || facts[name] === null) return [];
      const [term, value] = [element("dt", ""), element("dd", "")];
      term.textContent = label;
      value.textContent = String(facts[name]);
      return [term, value];
    }),
  );
  drawPick();
  const around = neighbours();
  $("previous").disabled = around.before === undefined;
  $("next").disabled = around.after === undefined;
  showLarge(picture);
}

async function showLarge(picture) {
  const image = $("large");
  image.alt = picture.parameters.prompt;
  image.removeAttribute("src");
  if (!canLoad(picture)) return;
  try {
    const small = tiles.get(keyOf(picture)).image?.src;
    if (small) image.src = small;
    const source = await load(picture, LARGE);
    if (shown === keyOf(picture)) image.src = source;
  } catch (error) {
    toast(error.message);
  }
}

function neighbours() {
  const keys = pictures.filter((picture) => picture.state === "done").map(keyOf);
  const at = keys.indexOf(shown);
  return { before: keys[at - 1], after: keys[at + 1] };
}

function turn(key) {
  if (key !== undefined) enlarge(key);
}

function drawPick() {
  $("viewer-pick").ariaPressed = String(picked.has(shown));
  $("viewer-pick").textContent = picked.has(shown) ? "Picked" : "Pick";
}

function closed() {
  const key = shown;
  shown = null;
  document.body.classList.remove("viewing");
  tiles.get(key)?.open.focus();
}

/* Listening ------------------------------------------------------------------------------------------------------- */

$("bar-more").addEventListener("click", () => more(chosen()));
$("bar-copy").addEventListener("click", () => copy(chosen()));
$("bar-use").addEventListener("click", () => say(`${pickedWords()} Continue with ${chosen().length === 1 ? "it" : "them"}.`, "The assistant was told."));
$("bar-none").addEventListener("click", () => {
  picked.clear();
  changed();
});
$("previous").addEventListener("click", () => turn(neighbours().before));
$("next").addEventListener("click", () => turn(neighbours().after));
$("viewer-pick").addEventListener("click", () => toggle(shown));
$("viewer-more").addEventListener("click", () => more([pictureAt(shown)]));
$("viewer-copy").addEventListener("click", () => copy([pictureAt(shown)]));
$("viewer-close").addEventListener("click", () => $("viewer").close());
$("viewer").addEventListener("close", closed);
$("viewer").addEventListener("click", (event) => {
  if (event.target === $("viewer")) $("viewer").close();
});
$("viewer").addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const onButton = event.target.closest("button") !== null;
  if (event.key === "ArrowLeft") turn(neighbours().before);
  else if (event.key === "ArrowRight") turn(neighbours().after);
  else if (event.key === " " && !onButton) toggle(shown);
  else if (event.key.toLowerCase() === "p") toggle(shown);
  else if (event.key.toLowerCase() === "c") copy([pictureAt(shown)]);
  else if (event.key.toLowerCase() === "m") more([pictureAt(shown)]);
  else return;
  event.preventDefault();
});
$("sheet-close").addEventListener("click", () => $("sheet").close());

function dress(context) {
  if (context.theme) document.documentElement.style.colorScheme = context.theme;
  for (const [name, value] of Object.entries(context.styles?.variables ?? {})) {
    if (name.startsWith("--") && typeof value === "string") document.documentElement.style.setProperty(name, value);
  }
}

host.on["ui/notifications/tool-input"] = ({ arguments: given }) => {
  const count = given?.prompts?.length;
  if (!pictures.length) status(count > 1 ? `Generating ${count} images.` : "Generating images.");
};
host.on["ui/notifications/tool-result"] = take;
host.on["ui/notifications/tool-cancelled"] = () => status("The call was cancelled. Finished images are in the folder.");
host.on["ui/notifications/host-context-changed"] = dress;

const answer = await host.ask("ui/initialize", {
  appInfo: { name: "vllm-image-gallery", version: "1.0.0" },
  appCapabilities: { availableDisplayModes: ["inline", "fullscreen"] },
  protocolVersion: "2026-01-26",
});
host.capabilities = answer.hostCapabilities ?? {};
dress(answer.hostContext ?? {});
host.tell("ui/notifications/initialized", {});

let tall = 0;
new ResizeObserver(() => {
  const height = Math.ceil(document.body.getBoundingClientRect().height);
  if (height === tall) return;
  tall = height;
  host.tell("ui/notifications/size-changed", { height });
}).observe(document.body);
