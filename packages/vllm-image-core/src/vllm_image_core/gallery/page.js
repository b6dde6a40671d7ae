"use strict";
const { title, images, options, words, editable } = JSON.parse(document.getElementById("data").textContent);
const by = (id) => document.getElementById(id);
const grid = by("grid"), space = by("space"), viewer = by("viewer"), comparison = by("comparison");
const cells = new Map();
let shown = [], columns = 1, side = 200, height = 0, current = 0, marked = [], waiting = false, stale = true, loading = false;
const PICTURES_PER_FRAME = 2;

document.title = title;

// What scrolling needs to know of the layout; reading it in each frame would make the browser compute it again.
function measure() {
  side = parseInt(getComputedStyle(document.documentElement).getPropertyValue("--cell"), 10);
  columns = Math.max(1, Math.floor(grid.clientWidth / side));
  height = grid.clientHeight;
}

// Only the cells that are in view exist, so that ten thousand images scroll as well as ten. A cell that leaves the
// view is used again for one that enters it; only a redrawing after a change looks at those that stay.
function draw() {
  waiting = false;
  const first = Math.max(0, Math.floor(grid.scrollTop / side) - 2) * columns;
  const last = Math.min(shown.length, (Math.ceil((grid.scrollTop + height) / side) + 2) * columns);
  const spare = [];
  for (const [place, cell] of cells) {
    if (place < first || place >= last || cell.image !== shown[place]) { spare.push(cell); cells.delete(place); }
  }
  for (let place = first; place < last; place++) {
    const known = cells.get(place), cell = known ?? fill(spare.pop() ?? add(), place);
    if (stale || !known) { decorate(cell, place); }
  }
  for (const cell of spare) { leave(cell); cell.remove(); }
  if (stale) {
    space.style.width = `${columns * side}px`;
    space.style.height = `${Math.ceil(shown.length / columns) * side}px`;
  }
  stale = false;
  if (!loading) { loading = true; requestAnimationFrame(load); }
}

// While the page scrolls, few pictures are loaded in each frame; as soon as it stands still, all that are in view.
function load() {
  const missing = [...cells.values()].filter((cell) => !cell.firstChild.src);
  const now = waiting ? missing.slice(0, PICTURES_PER_FRAME) : missing;
  for (const { firstChild: picture, image } of now) {
    picture.alt = image.prompt || image.name; picture.src = image.thumbnail;
  }
  loading = now.length < missing.length;
  if (loading) { requestAnimationFrame(load); }
}

function decorate(cell, place) {
  const image = cell.image;
  cell.style.transform = `translate(${(place % columns) * side}px, ${Math.floor(place / columns) * side}px)`;
  cell.ariaPosInSet = place + 1; cell.ariaSetSize = shown.length; // the order of the elements says nothing
  cell.ariaSelected = String(place === current);
  cell.className = ["cell", marked.includes(image) ? "marked" : "", image.choice].filter(Boolean).join(" ");
  cell.lastChild.textContent = caption(image);
}

// An image that was scrolled past is no longer loaded: those in view come first.
function leave(cell) {
  if (!cell.firstChild.complete) { cell.firstChild.removeAttribute("src"); }
}

function caption(image) {
  return [..."★".repeat(image.stars), image.stars ? " " : "", image.prompt || image.name].join("");
}

function drawSoon() {
  if (!waiting) { waiting = true; requestAnimationFrame(draw); }
}

function redrawSoon() {
  stale = true; drawSoon();
}

function add() {
  const cell = document.createElement("button");
  cell.type = "button"; cell.tabIndex = -1; cell.role = "option";
  cell.append(new Image(), document.createElement("span"));
  cell.addEventListener("click", () => { current = cell.place; redrawSoon(); open(); });
  space.append(cell);
  return cell;
}

// A new element for each picture: a used one would show the last picture until the next one is loaded.
function fill(cell, place) {
  const picture = new Image();
  picture.decoding = "async";
  leave(cell);
  cell.firstChild.replaceWith(picture);
  cell.image = shown[place]; cell.place = place; cells.set(place, cell);
  return cell;
}

const orders = {
  newest: (a, b) => b.created.localeCompare(a.created) || b.name.localeCompare(a.name),
  oldest: (a, b) => a.created.localeCompare(b.created) || a.name.localeCompare(b.name),
  name: (a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }),
  prompt: (a, b) => a.prompt.localeCompare(b.prompt) || orders.newest(a, b),
  stars: (a, b) => b.stars - a.stars || orders.newest(a, b),
  seed: (a, b) => (BigInt(a.seed || 0) < BigInt(b.seed || 0) ? -1 : BigInt(a.seed || 0) > BigInt(b.seed || 0) ? 1 : orders.newest(a, b)),
};

function filter() {
  const terms = by("text").value.toLowerCase().split(/\s+/).filter(Boolean), seed = by("seed").value.trim();
  const model = by("model").value, batch = by("batch").value, tag = by("tagged").value, least = Number(by("rating").value);
  const wanted = { "": ["", "kept"], kept: ["kept"], open: [""], rejected: ["rejected"] }[by("choice").value];
  shown = images.filter((image) =>
    (!model || image.model === model) && (!batch || image.batch === batch) && (!seed || image.seed === seed)
    && (!tag || image.tag === tag) && image.stars >= least && wanted.includes(image.choice)
    && terms.every((term) => searched(image).includes(term)));
  shown.sort(orders[by("sort").value]);
  const all = images.filter((image) => image.choice !== "rejected").length;
  by("count").value = shown.length === all ? `${all} images` : `${shown.length} of ${all} images`;
  current = 0; grid.scrollTop = 0; redrawSoon();
}

function move(step) {
  if (!shown.length) { return; }
  current = Math.min(shown.length - 1, Math.max(0, current + step));
  const top = Math.floor(current / columns) * side;
  if (top < grid.scrollTop) { grid.scrollTop = top; }
  if (top + side > grid.scrollTop + height) { grid.scrollTop = top + side - height; }
  redrawSoon();
  if (viewer.open) { open(); }
}

function open() {
  const image = shown[current];
  if (!image) { return; }
  const picture = document.createElement("img");
  picture.src = image.file; picture.alt = image.prompt || image.name;
  picture.addEventListener("click", () => by("shown").classList.toggle("full"));
  by("shown").className = ""; by("shown").replaceChildren(picture);
  by("prompt").textContent = image.prompt || image.name;
  showOpinion(image);
  const facts = { File: image.name, Model: image.model, Size: image.size, Seed: image.seed, Created: new Date(image.created).toLocaleString(), Batch: image.batch, Rating: editable ? "" : "★".repeat(image.stars), Tag: editable ? "" : image.tag, ...image.parameters };
  delete facts.prompt; delete facts.seed; delete facts.tag; delete facts.width; delete facts.height;
  by("facts").replaceChildren(...Object.entries(facts).filter(([, value]) => value !== "" && value != null).flatMap(([name, value]) => {
    const term = document.createElement("dt"), text = document.createElement("dd");
    term.textContent = name.replaceAll("_", " "); text.textContent = value;
    return [term, text];
  }));
  by("original").href = image.file; by("said").textContent = "";
  by("copy-command").hidden = image.edited;
  if (!viewer.open) { viewer.showModal(); }
}

function command(image) {
  const quote = (text) => /^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
  const named = Object.entries(image.parameters).filter(([name]) => options[name]);
  return [words, quote(image.prompt), ...named.flatMap(([name, value]) => [options[name], quote(String(value))])].join(" ");
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // A page from a file may not use the clipboard in every browser; the older way works there.
    const area = document.createElement("textarea");
    area.value = text; viewer.append(area); area.select(); document.execCommand("copy"); area.remove();
  }
  by("said").textContent = "Copied.";
}

function mark(image) {
  if (!image) { return; }
  marked = marked.includes(image) ? marked.filter((each) => each !== image) : [...marked, image].slice(-2);
  redrawSoon();
  if (marked.length < 2) { return; }
  by("pair").replaceChildren(...marked.map((each) => {
    const figure = document.createElement("figure"), picture = document.createElement("img"), caption = document.createElement("figcaption");
    picture.src = each.file; picture.alt = each.prompt || each.name;
    const other = marked.find((one) => one !== each);
    const differing = Object.entries(each.parameters).filter(([name, value]) => other.parameters[name] !== value);
    caption.textContent = [each.name, ...differing.map(([name, value]) => `${name.replaceAll("_", " ")}: ${value}`)].join(" · ");
    figure.append(picture, caption);
    return figure;
  }));
  comparison.showModal();
}

function showOpinion(image) {
  by("keep").textContent = image.choice === "kept" ? "Kept" : "Keep";
  by("keep").setAttribute("aria-pressed", String(image.choice === "kept"));
  by("reject").textContent = image.choice === "rejected" ? "Take back" : "Reject";
  by("tag").value = image.tag;
  for (const [place, star] of [...by("stars").children].entries()) { star.setAttribute("aria-pressed", String(place < image.stars)); }
}

// The answer is what is true now; another page or program may have decided about the image, too.
async function decide(change, said) {
  const image = shown[current];
  if (!editable || !image) { return; }
  let text = said;
  try {
    const answer = await fetch("opinion", { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ name: image.name, ...change }) });
    if (answer.ok) { Object.assign(image, await answer.json()); list("tagged", "All tags", (one) => one.tag); } else { text = await answer.text(); }
  } catch {
    text = "The gallery is no longer running: start it again at the shell.";
  }
  by("said").textContent = text;
  if (viewer.open && image === shown[current]) { showOpinion(image); }
  redrawSoon();
}

function choose(choice) {
  const undo = shown[current]?.choice === choice;
  return decide({ verdict: undo ? "clear" : { kept: "keep", rejected: "reject" }[choice] },
    undo ? "Taken back." : { kept: "Kept.", rejected: "Rejected: it is in the bin of this folder." }[choice]);
}

function rate(stars) {
  return decide({ stars }, stars ? `${stars} of 5 stars.` : "Not rated.");
}

function searched(image) {
  return `${image.prompt} ${image.name} ${image.tag} ${image.parameters.negative_prompt ?? ""}`.toLowerCase();
}

function list(id, name, value) {
  const known = [...new Set(images.map(value).filter(Boolean))].sort(), chosen = by(id).value;
  by(id).replaceChildren(new Option(name, ""), ...known.map((each) => new Option(each, each, false, each === chosen)));
  by(id).hidden = known.length < (id === "tagged" ? 1 : 2);
}

for (let stars = 1; stars <= 5; stars++) {
  const star = document.createElement("button");
  star.type = "button"; star.textContent = "★"; star.setAttribute("aria-label", `${stars} of 5 stars`);
  star.addEventListener("click", () => rate(shown[current].stars === stars ? 0 : stars));
  by("stars").append(star);
}
list("model", "All models", (image) => image.model);
list("batch", "All batches", (image) => image.batch);
list("tagged", "All tags", (image) => image.tag);
for (const id of ["keep", "reject", "stars", "tag"]) { by(id).hidden = !editable; }
by("keys").hidden = !editable;
by("choice").hidden = !editable && !images.some((image) => image.choice);
by("choice").lastElementChild.hidden = !editable;
by("rating").hidden = !editable && !images.some((image) => image.stars);
for (const id of ["text", "model", "batch", "seed", "choice", "rating", "tagged", "sort"]) { by(id).addEventListener("input", filter); }
by("copy-command").addEventListener("click", () => copy(command(shown[current])));
by("copy-parameters").addEventListener("click", () => copy(JSON.stringify(shown[current].parameters, null, 2)));
by("keep").addEventListener("click", () => choose("kept"));
by("reject").addEventListener("click", () => choose("rejected"));
by("tag").addEventListener("change", () => decide({ tag: by("tag").value.trim() }, by("tag").value.trim() ? "Tagged." : "No tag."));
by("close").addEventListener("click", () => viewer.close());
by("end").addEventListener("click", () => comparison.close());
comparison.addEventListener("close", () => { marked = []; redrawSoon(); });
viewer.addEventListener("close", () => grid.focus());
grid.addEventListener("scroll", drawSoon, { passive: true });
new ResizeObserver(() => { measure(); redrawSoon(); }).observe(grid);
addEventListener("keydown", (event) => {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (event.key === "Escape" && typing && !viewer.open) { grid.focus(); }
  if (event.key === "Enter" && event.target === by("tag")) { by("tag").blur(); event.preventDefault(); }
  if (typing || event.ctrlKey || event.metaKey || event.altKey || comparison.open) { return; }
  const across = viewer.open ? 1 : columns;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -across, ArrowDown: across, PageUp: -4 * across, PageDown: 4 * across, Home: -images.length, End: images.length };
  if (event.key in steps) { move(steps[event.key]); } else if (event.key === "Enter" && event.target.tagName !== "BUTTON") { open(); } else if (event.key === "c") { if (viewer.open) { viewer.close(); } mark(shown[current]); } else if (event.key === "/") { by("text").focus(); } else if (event.key === "k") { choose("kept"); } else if (event.key === "x") { choose("rejected"); } else if (editable && /^[0-5]$/.test(event.key)) { rate(Number(event.key)); } else if (editable && event.key === "t") { if (!viewer.open) { open(); } by("tag").focus(); by("tag").select(); } else { return; }
  event.preventDefault();
});
measure();
filter();
grid.focus();
