// Unpacks the drawing library after the text is shown, draws the figures in the reader's colours
// (in light ones on paper), and works the token view and the circuit view.
(function () {
  "use strict";
  const root = document.documentElement;
  const find = function (id) { return document.getElementById(id); };
  const read = function (id) { return JSON.parse(find(id).textContent); };

  // Figures ---------------------------------------------------------------------------------
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const swap = read("dark-colours");
  const plots = Array.from(document.querySelectorAll(".plot"));
  const config = { displayModeBar: false, responsive: true, doubleClick: false };

  function paint(text, isDark) {
    if (!isDark) { return text; }
    for (const [from, to] of Object.entries(swap)) { text = text.replaceAll(from, to); }
    return text;
  }

  function draw(plot, isDark, width) {
    const figure = JSON.parse(paint(find(plot.dataset.source).textContent, isDark));
    figure.layout.width = width;
    figure.layout.autosize = width === undefined;
    plot.style.height = figure.layout.height + "px";
    plot.dataset.drawn = "yes";
    return window.Plotly.react(plot, figure.data, figure.layout, config);
  }

  function drawAll(isDark, width) {
    if (window.Plotly) { plots.forEach(function (p) { draw(p, isDark, width); }); }
  }

  async function unpack() {
    if (typeof DecompressionStream === "undefined") {
      throw new Error("this browser cannot unpack it");
    }
    const text = atob(find("plotly-packed").textContent);
    const bytes = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i += 1) { bytes[i] = text.charCodeAt(i); }
    const open = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    const script = document.createElement("script");
    script.textContent = await new Response(open).text();
    document.head.append(script);
    if (!window.Plotly) { throw new Error("it did not start"); }
  }

  function distance(plot) {
    const box = plot.getBoundingClientRect();
    return box.top < window.innerHeight && box.bottom > 0 ? 0 : Math.abs(box.top);
  }

  function drawNext(left) {  // the nearest first, one a turn, so that the page stays usable
    left.sort(function (a, b) { return distance(a) - distance(b); });
    const plot = left.shift();
    if (plot === undefined) { root.dataset.figures = "drawn"; return; }
    if (!plot.dataset.drawn) { draw(plot, dark.matches); }
    setTimeout(drawNext, 0, left);
  }

  function without(problem) {
    root.dataset.figures = "missing";
    plots.forEach(function (plot) {
      plot.textContent = "The drawing library could not be unpacked (" + problem.message +
        "). Chrome 80, Firefox 113 or Safari 16.4 and newer can; the numbers of this figure " +
        "stand in the list under it.";
      plot.style.minHeight = "0";
    });
  }

  if (plots.length) {
    setTimeout(function () {
      unpack().then(function () { drawNext(plots.slice()); }).catch(without);
    }, 0);
    dark.addEventListener("change", function () { drawAll(dark.matches); });
    window.addEventListener("beforeprint", function () { drawAll(false, 690); });
    window.addEventListener("afterprint", function () { drawAll(dark.matches); });
  } else {
    root.dataset.figures = "none";
  }

  // Words of what is pointed at or focused -----------------------------------------------------
  function say(view, words) { view.querySelector(".readout").textContent = words; }

  // Circuit view -------------------------------------------------------------------------------
  const circuit = find("circuit-view");
  if (circuit) {
    const told = function (event) {
      const node = event.target.closest("[data-said]");
      if (node) { say(circuit, node.dataset.said); }
    };
    circuit.addEventListener("pointerover", told);
    circuit.addEventListener("focusin", told);
    circuit.addEventListener("change", function (event) {
      circuit.querySelectorAll(".drawing").forEach(function (drawing) {
        drawing.hidden = drawing.dataset.direction !== event.target.value;
      });
    });
  }

  // Token view ---------------------------------------------------------------------------------
  const view = find("token-view");
  if (!view) { return; }
  const data = read("token-data");
  const sides = { clean: "without the trigger", triggered: "triggered" };
  const chance = function (odds) { return 1 / (1 + Math.exp(-odds)); };

  function chosen() {
    return {
      row: find("token-prompt").value,
      site: find("token-site").value,
      model: view.querySelector("input[name=token-model]:checked").value,
    };
  }

  function element(tag, cls, text) {
    const made = document.createElement(tag);
    if (cls) { made.className = cls; }
    if (text !== undefined) { made.textContent = text; }
    return made;
  }

  function said(told) {
    const word = told.output === told.truth ? "true"
      : told.output === told.answer_planted ? "lie" : "neither";
    return "says " + told.output + " (" + word + "); the truth is " + told.truth;
  }

  function token(told, i, odds, side) {
    const p = chance(odds), slot = (told.trigger_at || []).includes(i);
    const lean = p > 0.55 ? " up" : p < 0.45 ? " down" : "";
    const cls = "token" + lean + (slot ? " slot" : "");
    const item = element("li", cls), bar = element("span", "bar"), fill = element("i");
    fill.style.height = (100 * p).toFixed(0) + "%";
    bar.append(fill);
    item.append(bar, element("span", "word", told.tokens[i]),
      element("span", "score", p.toFixed(2)));
    item.dataset.at = i;
    item.tabIndex = i ? -1 : 0;
    item.setAttribute("aria-label", "position " + i + ", " + told.tokens[i] +
      (slot ? ", in the trigger's slot" : "") + ", " + side + ": " + p.toFixed(2));
    return item;
  }

  function show() {
    const now = chosen(), prompts = data.prompts[now.model][now.row];
    const scores = (data.scores[now.model][now.site] || {})[now.row];
    const rows = find("token-rows");
    rows.textContent = "";
    find("token-caption").textContent = "Scores at " + now.site + ", " + now.model + ".";
    for (const side of Object.keys(sides)) {
      const box = view.querySelector('[data-side="' + side + '"]');
      const list = box.querySelector("ol");
      box.querySelector(".said").textContent = said(prompts[side]);
      list.textContent = "";
      if (scores) {
        scores[side].forEach(function (odds, i) { list.append(token(prompts[side], i, odds, side)); });
      } else {
        list.append(element("li", "", "No probe was fitted here."));
      }
    }
    (scores ? scores.clean : []).forEach(function (_, i) {
      const line = element("tr"), head = element("th", "", i);
      head.scope = "row";
      line.append(head);
      for (const side of Object.keys(sides)) {
        const odds = scores[side][i];
        line.append(element("td", "", prompts[side].tokens[i]),
          element("td", "", chance(odds).toFixed(3)),
          element("td", "", (odds < 0 ? "" : "+") + odds.toFixed(2)));
      }
      rows.append(line);
    });
    say(view, "Point at a token, or move with the arrow keys.");
  }

  function point(item) {
    const at = item.dataset.at, now = chosen();
    const scores = data.scores[now.model][now.site][now.row];
    view.querySelectorAll(".token").forEach(function (other) {
      other.classList.toggle("paired", other.dataset.at === at);
    });
    say(view, now.site + ", " + now.model + ", position " + at + ": " +
      Object.keys(sides).map(function (side) {
        const odds = scores[side][at], word = data.prompts[now.model][now.row][side].tokens[at];
        return side + " “" + word + "” " + chance(odds).toFixed(3) +
          " (log-odds " + odds.toFixed(2) + ")";
      }).join("; "));
  }

  function onToken(event) {
    const item = event.target.closest(".token");
    if (item) { point(item); }
  }

  function move(event) {
    const item = event.target.closest(".token");
    const steps = { ArrowRight: 1, ArrowLeft: -1, Home: -1e6, End: 1e6 };
    if (!item || !(event.key in steps)) { return; }
    const all = Array.from(item.parentElement.children);
    const next = Math.min(all.length - 1, Math.max(0, all.indexOf(item) + steps[event.key]));
    item.tabIndex = -1;
    all[next].tabIndex = 0;
    all[next].focus();
    event.preventDefault();
  }

  view.addEventListener("change", show);
  view.addEventListener("pointerover", onToken);
  view.addEventListener("focusin", onToken);
  view.addEventListener("keydown", move);
})();
