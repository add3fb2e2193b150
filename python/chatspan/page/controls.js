// What is marked, which kind is looked for, the keys.

const root = document.documentElement;

function drawMasks() {
  const box = document.getElementById("masks");
  ["none", ...MASKS].forEach((name, number) => {
    if (name === "loss" && refusal("loss")) return;
    const reason = refusal(name);
    const label = make("label");
    const input = make("input");
    input.type = "radio";
    input.name = "mask";
    input.value = name;
    input.disabled = reason !== null;
    label.title = reason === null ? `${MASK_SAYS[name]} Key ${number}` : `Cannot be told: ${reason}`;
    label.append(input, make("span", "", name));
    if (name !== "none" && reason === null) label.append(make("span", "quiet", perSide((side) => side.inMask[name])));
    box.append(label);
  });
  box.addEventListener("change", (event) => mark(event.target.value));
}

// One attribute of the root says what is marked: the style does the rest, for what is on the screen.
function mark(name) {
  root.dataset.mask = name;
  for (const input of document.querySelectorAll("#masks input")) input.checked = input.value === name;
  for (const side of sides) side.blocks.forEach(showMarked);
  document.getElementById("summary").textContent = views
    .flatMap((view) => view.sides.map((side) => sideSummary(view, side, name)))
    .join("; ");
  for (const side of sides) if (side.summary) side.summary.textContent = numbersOf(side, name);
}

function showMarked(block) {
  if (!block.element) return;
  const name = root.dataset.mask;
  const number = markedIn(block, name);
  block.marked.textContent = number ? `${number.toLocaleString("en")} in ${name}` : "";
  if (block.bar) block.bar.style.inlineSize = `${(100 * number) / (block.end - block.start)}%`;
}

function sideSummary(view, side, name) {
  return (view.sides.length === 2 ? `${side.name}: ` : "") + numbersOf(side, name);
}

function numbersOf(side, name) {
  const tokens = count(side.length, "token");
  if (name === "none") return tokens;
  if (!(name in side.masks)) return `${tokens}; ${name} cannot be determined`;
  return `${tokens}, ${countIn(side.inMask[name], 0, side.length).toLocaleString("en")} in ${name}`;
}

// How many of the tokens of each side; once, where both have as many.
function perSide(maskOf) {
  const numbers = sides.map((side) => countIn(maskOf(side) ?? [], 0, maskOf(side) ? side.length : 0).toLocaleString("en"));
  return [...new Set(numbers)].join(" / ");
}

function drawLegend() {
  const legend = document.getElementById("legend");
  kinds.forEach((name, number) => {
    if (!sides.some((side) => side.kind.includes(number))) return;
    const button = make("button", "kind");
    button.type = "button";
    button.title = `${KIND_SAYS[name]}; press to see only these`;
    button.setAttribute("aria-pressed", "false");
    button.append(make("span", `k${number}`, name.replaceAll("_", " ")), make("span", "quiet", perSide((side) => side.kind.map((kind) => kind === number))));
    button.addEventListener("click", () => lookFor(root.dataset.kind === String(number) ? null : number, button));
    legend.append(button);
  });
  const marked = make("span", "sample in-sample", "marked");
  marked.title = "tokens of what is chosen under Mark";
  legend.append(marked);
  if (sides.some((side) => side.name === "teacher")) legend.append(make("span", "sample only", "only one side has it"));
}

function lookFor(kind, button) {
  for (const other of document.querySelectorAll("#legend button")) other.setAttribute("aria-pressed", "false");
  if (kind === null) delete root.dataset.kind;
  else {
    root.dataset.kind = kind;
    button.setAttribute("aria-pressed", "true");
  }
}

function listenForControls() {
  document.querySelector("#edges input").addEventListener("change", (event) => {
    root.classList.toggle("no-edges", !event.target.checked);
  });
  const unfold = document.getElementById("unfold");
  unfold.addEventListener("click", () => {
    const folding = sides.flatMap((side) => side.blocks).filter((block) => block.fold);
    const isFolded = !folding.some((block) => block.isFolded);
    for (const block of folding) fold(block, isFolded);
    unfold.textContent = isFolded ? "Unfold all" : "Fold all";
  });
  document.getElementById("main").addEventListener("click", (event) => {
    if (!event.target.matches(".fold")) return;
    const { block } = event.target.closest(".block");
    foldRow(block, !block.isFolded);
  });
  addEventListener("keydown", onKey);
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const isTyping = event.target.matches("input[type=search]");
  const keys = document.getElementById("keys");
  // While it is open, Escape and Tab are the browser's.
  if (keys.open) return event.key === "?" && keys.close();
  if (event.key === "Escape") {
    if (isTyping) event.target.blur();
    pin(null);
  } else if (isTyping) return;
  else if (/^[0-4]$/.test(event.key)) pressMask(["none", ...MASKS][event.key]);
  else if (event.key === "/") focusSearch();
  else if (event.key === "?") keys.showModal();
  else if (event.key === "j" || event.key === "k") jumpBy(event.key === "j" ? 1 : -1, () => true);
  else if (event.key === "n" || event.key === "p") {
    jumpBy(event.key === "n" ? 1 : -1, (block) => markedIn(block, root.dataset.mask));
  }
  else if (isPinned && shown && event.key === "x") {
    const other = otherSide(shown.side);
    if (other && shown.side.counterpart[shown.token] >= 0) movePin({ side: other, token: shown.side.counterpart[shown.token] });
  } else if (isPinned && shown && !event.target.matches("input") && /^Arrow(Left|Right)$/.test(event.key)) {
    const isRight = event.key === "ArrowRight";
    const end = shown.side.mediumOf.get(shown.token)?.end_token ?? shown.token + 1;
    movePin({ side: shown.side, token: isRight ? end : shown.token - 1 });
  } else return;
  event.preventDefault();
}

function pressMask(name) {
  const input = document.querySelector(`#masks input[value="${name}"]`);
  if (input && !input.disabled) mark(name);
}
