// The card of one token: under the pointer, or pinned.

const card = document.getElementById("card");
let shown = null;
let isPinned = false;

function sameToken(a, b) {
  return Boolean(a && b && a.side === b.side && a.token === b.token);
}

function showToken(found) {
  if (sameToken(found, shown)) return;
  for (const element of document.querySelectorAll(".here, .there")) element.classList.remove("here", "there");
  shown = found;
  card.hidden = !found;
  if (!found) return;
  const { side, token } = found;
  const element = tokenElementOf(side, token);
  element.classList.add("here");
  const other = otherSide(side);
  if (other && side.counterpart[token] >= 0) {
    tokenElementOf(other, side.counterpart[token]).classList.add("there");
  }
  card.replaceChildren(...cardContent(side, token));
  place(element);
}

function cardContent(side, token) {
  const text = make("p", "card-text other");
  const medium = side.mediumOf.get(token);
  showText(text, medium ? mediumText(medium) : side.texts[token] || "⟨no text⟩");
  const list = make("dl");
  for (const [name, value, className] of cardFacts(side, token)) {
    const fact = make("dd", className);
    fact.dataset.fact = name;
    fact.append(value);
    list.append(make("dt", "", name), fact);
  }
  return [text, list];
}

function cardFacts(side, token) {
  const owner = side.message_index[token];
  const kind = kinds[side.kind[token]];
  const medium = side.mediumOf.get(token);
  const start = side.offsets[token][0];
  const end = side.offsets[medium ? medium.end_token - 1 : token][1];
  const path = medium ? `content[${medium.part}]` : pathOf(side, token);
  const facts = [
    ["id", String(side.input_ids[token])],
    ["token", `${token}${side.view.sides.length === 2 ? ` of the ${side.name}` : ""}`],
    ["owner", owner < 0 ? "no message" : isolated(`message ${owner}, ${side.roles[owner]}`)],
    ["path", isolated(path ?? "– (not of a field)"), "path"],
    ["kind", kindLabel(side.kind[token], kind)],
    ["characters", start === end ? `none, at ${start}` : `${start}–${end}`],
    ["masks", MASKS.filter((name) => name in side.masks && side.inMask[name][token]).join(", ") || "none"],
  ];
  if (medium) facts.push(["medium", `tokens ${medium.start_token}–${medium.end_token - 1}`]);
  const whole = side.partOf.get(token);
  if (whole !== undefined) facts.push(["part of", isolated(whole || "no character")]);
  if (side.isStraddling.has(token)) facts.push(["across", "an edge: its first character decides"]);
  if (side.isDropped.has(token)) facts.push(["left out", "of the loss: the teacher has no such token", "warning"]);
  const other = otherSide(side);
  if (other) {
    const at = side.counterpart[token];
    facts.push(["counterpart", at < 0 ? `none: only the ${side.name} has it` : `token ${at} of the ${other.name}`]);
  }
  return facts;
}

function isolated(text) {
  const element = make("bdi", "other");
  showText(element, text);
  return element;
}

function kindLabel(number, name) {
  const label = make("span", `k${number}`, name);
  label.title = KIND_SAYS[name];
  return label;
}

// Under the token, or above it where there is no room; on a small screen the style puts the card at the bottom.
function place(element) {
  const box = element.getClientRects()[0] ?? element.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = card;
  const gap = 8;
  const below = box.bottom + gap;
  const top = below + height < innerHeight ? below : Math.max(gap, box.top - gap - height);
  card.style.left = `${Math.max(gap, Math.min(box.left, innerWidth - width - gap))}px`;
  card.style.top = `${top}px`;
}

function pin(found) {
  isPinned = Boolean(found);
  showToken(found);
  card.classList.toggle("pinned", isPinned);
  card.setAttribute("aria-live", isPinned ? "polite" : "off");
}

function movePin(found) {
  if (!found || found.token < 0 || found.token >= found.side.length) return;
  const medium = found.side.mediumOf.get(found.token);
  if (medium) found.token = medium.start_token;
  const block = blockOf(found.side, found.token);
  const element = tokenElementOf(found.side, found.token);
  if (block.isFolded) foldRow(block, false);
  element.scrollIntoView({ block: "nearest" });
  pin(found);
}

function listenForTokens(main) {
  main.addEventListener("pointerover", (event) => {
    if (!isPinned && event.pointerType !== "touch") showToken(sideAndToken(event.target));
  });
  main.addEventListener("pointerleave", () => isPinned || showToken(null));
  main.addEventListener("click", (event) => {
    const found = sideAndToken(event.target);
    // Whoever selects text wants the text.
    if (found && !getSelection().isCollapsed) return;
    pin(isPinned && sameToken(found, shown) ? null : found);
  });
  main.addEventListener("focusin", (event) => {
    const { block } = event.target.closest(".block") ?? {};
    if (block && event.target === block.text && event.target.matches(":focus-visible")) {
      pin({ side: block.side, token: block.start });
    }
  });
  addEventListener("scroll", () => shown && place(tokenElementOf(shown.side, shown.token)), { passive: true });
}
