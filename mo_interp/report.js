// Draws every figure of the page in the colours of the reader, and in light ones on paper.
(function () {
  "use strict";
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const swap = JSON.parse(document.getElementById("dark-colours").textContent);
  const plots = Array.from(document.querySelectorAll(".plot"));
  const config = { displayModeBar: false, responsive: true, doubleClick: false };

  function paint(text, isDark) {
    if (!isDark) { return text; }
    for (const [from, to] of Object.entries(swap)) { text = text.replaceAll(from, to); }
    return text;
  }

  function draw(plot, isDark, width) {
    const source = document.getElementById(plot.dataset.source).textContent;
    const figure = JSON.parse(paint(source, isDark));
    figure.layout.width = width;
    figure.layout.autosize = width === undefined;
    plot.style.height = figure.layout.height + "px";
    return Plotly.react(plot, figure.data, figure.layout, config);
  }

  function drawAll(isDark, width) { plots.forEach(function (p) { draw(p, isDark, width); }); }

  drawAll(dark.matches);
  dark.addEventListener("change", function () { drawAll(dark.matches); });
  window.addEventListener("beforeprint", function () { drawAll(false, 690); });
  window.addEventListener("afterprint", function () { drawAll(dark.matches); });
})();
