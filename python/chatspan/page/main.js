// Draws the page: what is seen first first.

function start() {
  const main = document.getElementById("main");
  document.getElementById("title").textContent = views.map((view) => view.title).filter((title, i, all) => all.indexOf(title) === i).join(", ");
  document.getElementById("subtitle").textContent = data.subtitle;
  document.getElementById("version").textContent = data.version;
  for (const view of views) {
    const article = drawView(view);
    const remarks = drawRemarks(view);
    if (remarks) article.prepend(remarks);
    main.append(article);
  }
  drawMasks();
  drawLegend();
  foldOutline();
  mark(refusal(data.mask) === null ? data.mask : "none");
  listenForTokens(main);
  listenForControls();
  listenForSearch();
  listenForAddress();
  listenForHelp();
  const bar = document.getElementById("bar");
  new ResizeObserver(() => root.style.setProperty("--bar", `${bar.offsetHeight}px`)).observe(bar);
  drawWaiting(FIRST_TOKENS, Infinity);
  openThere();
  // Behind the first paint, not in front of it.
  requestAnimationFrame(() => setTimeout(() => {
    performance.mark("chatspan-shown");
    followScrolling();
    drawRest();
  }));
}

start();
