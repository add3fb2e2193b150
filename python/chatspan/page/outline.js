// The messages in a column, remarks, and the table of counts.

const outline = document.querySelector("#outline nav");
const longest = sides.reduce((most, side) => side.blocks.reduce((m, block) => Math.max(m, block.end - block.start), most), 1);

function foldOutline() {
  const summary = matchMedia("(max-width: 900px)");
  const follow = () => (document.getElementById("outline").open = !summary.matches);
  summary.addEventListener("change", follow);
  follow();
}

// A row of a student and a teacher is one line, the teacher's, whose conversation says more.
function drawOutlineLine(blocks) {
  const block = blocks.at(-1);
  const line = make("button", "jump");
  line.type = "button";
  const tokens = block.end - block.start;
  const title = make("span", "jump-title");
  title.append(make("span", "index", block.message < 0 ? "–" : block.message), make("span", "role other", blockTitle(block)));
  if (block.element.querySelector(".note")) title.append(make("span", "dot", "●"));
  const bar = make("span", "bar");
  const part = make("span", "bar-part");
  // Roots, so that short messages can be told from each other beside long ones.
  bar.style.inlineSize = `${Math.max(2, 100 * Math.sqrt(tokens / longest))}%`;
  bar.append(part);
  line.append(title, make("span", "jump-count quiet", tokens.toLocaleString("en")), bar);
  line.dataset.role = blockTitle(block);
  for (const each of blocks) each.jump = line;
  block.bar = part;
  line.addEventListener("click", () => jumpTo(block));
  outline.append(line);
}

function jumpTo(block) {
  block.element.scrollIntoView({ block: "start" });
  setCurrent(block);
}

let current = null;

function setCurrent(block) {
  if (current) current.jump.removeAttribute("aria-current");
  current = block;
  block.jump.setAttribute("aria-current", "true");
  const { offsetTop: top, offsetHeight: height } = block.jump;
  const isSeen = top >= outline.scrollTop && top + height <= outline.scrollTop + outline.clientHeight;
  if (!isSeen) outline.scrollTop = top - outline.clientHeight / 2;
}

function rowBlocks() {
  return [...document.querySelectorAll(".row")].map((row) => row.querySelector(".block").block);
}

// To the next message, or the one before, that is wanted.
function jumpBy(step, isWanted) {
  const blocks = rowBlocks();
  let at = blocks.findIndex((block) => current && block.jump === current.jump) + step;
  while (blocks[at] && !isWanted(blocks[at])) at += step;
  if (blocks[at]) jumpTo(blocks[at]);
}

// The row under the bar is the current one.
function followScrolling() {
  let isWaiting = false;
  const follow = () => {
    isWaiting = false;
    const edge = document.getElementById("bar").offsetHeight + 80;
    const rows = [...document.querySelectorAll(".row")];
    const row = rows.findLast((each) => each.getBoundingClientRect().top < edge) ?? rows[0];
    const { block } = row?.querySelector(".block") ?? {};
    if (block && (!current || block.jump !== current.jump)) setCurrent(block);
  };
  addEventListener("scroll", () => {
    if (!isWaiting) requestAnimationFrame(follow);
    isWaiting = true;
  }, { passive: true });
  // The page may have been opened at a message that does not stand under the bar: it is all on the screen.
  if (!current) follow();
}

function drawRemarks(view) {
  const lines = view.sides.flatMap((side) => remarksOf(side).map((line) => {
    if (view.sides.length === 2) line.prepend(make("b", "", `${side.name}: `));
    return line;
  }));
  if (refusal("generation") && !lines.some((line) => line.dataset.mask === "generation")) {
    lines.push(make("li", "", `generation cannot be determined: ${refusal("generation")}`));
  }
  if (!lines.length) return null;
  const box = make("details", "remarks");
  box.append(make("summary", "", count(lines.length, "remark")));
  const list = make("ul");
  list.append(...lines);
  box.append(list);
  box.open = lines.some((line) => line.classList.contains("warning"));
  return box;
}

function remarksOf(side) {
  const lines = [];
  const say = (className, ...parts) => {
    const line = make("li", className);
    line.append(...parts);
    lines.push(line);
    return line;
  };
  if (!side.length) say("warning", "There is no token.");
  if (side.truncated) say("warning", `${count(side.truncated, "token")} were cut off at the maximal length.`);
  for (const [name, reason] of Object.entries(side.refused)) {
    say("warning", `${name} cannot be determined: `, isolated(reason)).dataset.mask = name;
  }
  if (side.isDropped.size) {
    const line = say("warning", `${count(side.isDropped.size, "token")} would be in the loss, but the teacher has no such token: `);
    addTokens(line, side, [...side.isDropped]);
  }
  const left = new Map();
  for (const [message, path] of side.unrendered) {
    const name = pathText(path);
    left.set(name, [...(left.get(name) ?? []), message]);
  }
  if (left.size) {
    const line = say("", "The template leaves out: ");
    [...left].forEach(([path, messages], i) => {
      const name = isolated(path);
      name.className += " path";
      line.append(i ? "; " : "", name, ` of ${messages.length === 1 ? "message" : "messages"} ${messages.join(", ")}`);
    });
  }
  if (side.straddling.length) {
    const line = say("", `${count(side.straddling.length, "token")} across an edge, where the first character decides: `);
    addTokens(line, side, side.straddling);
  }
  return lines;
}

function addTokens(line, side, tokens) {
  const most = 12;
  for (const token of tokens.slice(0, most)) {
    const button = make("button", "token-link other");
    button.type = "button";
    showText(button, side.texts[token]);
    button.addEventListener("click", () => {
      reveal(side, token);
      pin({ side, token });
    });
    line.append(button, " ");
  }
  if (tokens.length > most) line.append(`and ${(tokens.length - most).toLocaleString("en")} more`);
}

function pathText(path) {
  return path.reduce((text, part) => {
    if (typeof part === "number") return `${text}[${part}]`;
    return text ? `${text}.${part}` : String(part);
  }, "");
}
