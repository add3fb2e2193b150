// A search in the texts of all blocks, or for a token id; what is found is whole tokens.

const MOST_HITS = 5000;
const SEARCH_PAUSE = 150;

let hits = [];
let hit = -1;

function listenForSearch() {
  const query = document.getElementById("query");
  let timer;
  query.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => search(query.value), SEARCH_PAUSE);
  });
  document.getElementById("search").addEventListener("submit", (event) => {
    event.preventDefault();
    goTo(hit + 1);
  });
  document.getElementById("previous").addEventListener("click", () => goTo(hit - 1));
}

function focusSearch() {
  document.getElementById("query").focus();
  document.getElementById("query").select();
}

function search(query) {
  for (const element of document.querySelectorAll(".hit")) element.classList.remove("hit", "hit-here");
  hits = query ? sides.flatMap((side) => (/^#\d+$/.test(query) ? hitsOfId(side, Number(query.slice(1))) : hitsOfText(side, query))) : [];
  hits = hits.slice(0, MOST_HITS);
  for (const { side, start, end } of hits) {
    for (let i = start; i < end; i++) tokenElementOf(side, i).classList.add("hit");
  }
  hit = -1;
  for (const id of ["previous", "next"]) document.getElementById(id).disabled = !hits.length;
  document.getElementById("found").textContent = query && !hits.length ? "not found" : "";
  if (hits.length) goTo(0);
}

function hitsOfId(side, id) {
  const found = [];
  side.input_ids.forEach((other, i) => other === id && found.push({ side, start: i, end: i + 1 }));
  return found;
}

function hitsOfText(side, query) {
  const wanted = query.toLowerCase();
  // Of each character of the text which token it is of: what is found may begin and end inside of one.
  const tokenAt = [];
  let text = "";
  side.texts.forEach((piece, i) => {
    const whole = side.partOf.get(i);
    const isRepeated = whole !== undefined && i > 0 && side.offsets[i - 1][0] === side.offsets[i][0];
    const lower = (whole === undefined ? piece : isRepeated ? "" : whole).toLowerCase();
    text += lower;
    for (let n = 0; n < lower.length; n++) tokenAt.push(i);
  });
  const found = [];
  for (let at = text.indexOf(wanted); at >= 0 && found.length < MOST_HITS; at = text.indexOf(wanted, at + wanted.length)) {
    found.push({ side, start: tokenAt[at], end: tokenAt[at + wanted.length - 1] + 1 });
  }
  return found;
}

function goTo(number) {
  if (!hits.length) return;
  hit = (number + hits.length) % hits.length;
  for (const element of document.querySelectorAll(".hit-here")) element.classList.remove("hit-here");
  const { side, start, end } = hits[hit];
  reveal(side, start);
  for (let i = start; i < end; i++) tokenElementOf(side, i).classList.add("hit-here");
  const most = hits.length === MOST_HITS ? " or more" : "";
  document.getElementById("found").textContent = `${(hit + 1).toLocaleString("en")} of ${hits.length.toLocaleString("en")}${most}`;
}
