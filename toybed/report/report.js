"use strict";
// Draws the data tables of a figure as charts in which values can be read off, series chosen, and axes made logarithmic.
// The page is whole without this: figures and tables are there, and this only adds a button to each figure.
(() => {
  const charts = new Set();

  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (hex) => style(`--k${hex.slice(1)}`) || hex;
  const short = (value) => Number(value.toPrecision(4)).toString();

  // One series is one tbody; a row's cells say by data-of what they are.
  const seriesOf = (body) => ({
    name: body.dataset.name,
    colour: body.dataset.colour,
    line: body.dataset.line === "1",
    dashed: body.dataset.dashed === "1",
    points: [...body.querySelectorAll("tr[data-x]")].map(({ dataset: row }) => ({
      x: Number(row.x), y: Number(row.y), name: row.name || "", along: row.along,
      low: row.along ? Number(row.low) : null, high: row.along ? Number(row.high) : null,
    })),
  });

  const panelOf = (table) => ({
    title: table.dataset.title,
    labels: { x: table.dataset.x, y: table.dataset.y },
    ticks: JSON.parse(table.dataset.ticks),
    log: { x: table.dataset.log.includes("x"), y: table.dataset.log.includes("y") },
    inverted: { x: table.dataset.inverted.includes("x"), y: table.dataset.inverted.includes("y") },
    series: [...table.tBodies].map(seriesOf),
  });

  const axis = (panel, which) => {
    const named = panel.ticks[which];
    const scale = {
      type: panel.log[which] ? "logarithmic" : "linear",
      reverse: panel.inverted[which],
      title: { display: Boolean(panel.labels[which]), text: panel.labels[which], color: style("--soft") },
      grid: { color: style("--line") },
      ticks: { color: style("--soft"), maxTicksLimit: 8, callback: (value) => short(Number(value)) },
    };
    if (named) {
      scale.afterBuildTicks = (built) => { built.ticks = named.map(([value]) => ({ value })); };
      scale.ticks = { color: style("--soft"), autoSkip: false, font: { size: 10 },
        callback: (value) => (named.find(([place]) => place === value) || ["", ""])[1] };
      scale.grace = 0.5;
    }
    return scale;
  };

  const dataset = (series) => ({
    label: series.name,
    data: series.points,
    showLine: series.line,
    borderColor: colour(series.colour),
    backgroundColor: colour(series.colour),
    borderDash: series.dashed ? [5, 4] : [],
    borderWidth: 1.8,
    pointRadius: series.line ? 1.5 : 3.5,
    pointHoverRadius: 6,
  });

  const intervals = {
    id: "intervals",
    afterDatasetsDraw: (chart) => {
      chart.data.datasets.forEach((of, index) => {
        if (!chart.isDatasetVisible(index)) return;
        for (const point of of.data.filter((each) => each.along)) {
          const along = chart.scales[point.along];
          const [low, high] = [point.low, point.high].map((value) => along.getPixelForValue(value));
          const at = point.along === "x" ? chart.scales.y.getPixelForValue(point.y) : chart.scales.x.getPixelForValue(point.x);
          chart.ctx.strokeStyle = of.borderColor;
          chart.ctx.lineWidth = 1.5;
          chart.ctx.beginPath();
          if (point.along === "x") { chart.ctx.moveTo(low, at); chart.ctx.lineTo(high, at); }
          else { chart.ctx.moveTo(at, low); chart.ctx.lineTo(at, high); }
          chart.ctx.stroke();
        }
      });
    },
  };

  const words = (panel) => (item) => {
    const point = item.raw;
    const range = point.along ? ` [${short(point.low)}, ${short(point.high)}]` : "";
    const told = ["x", "y"].map((which) => {
      const named = (panel.ticks[which] || []).find(([place]) => place === point[which]);
      return `${panel.labels[which] || which}: ${named ? named[1] : short(point[which])}${point.along === which ? range : ""}`;
    });
    return [point.name ? `${item.dataset.label}: ${point.name}` : item.dataset.label, ...told];
  };

  const options = (panel) => ({
    animation: false,
    responsive: true,
    maintainAspectRatio: false,
    interaction: { mode: "nearest", intersect: false },
    scales: { x: axis(panel, "x"), y: axis(panel, "y") },
    plugins: {
      legend: { display: false },
      tooltip: { callbacks: { title: () => "", label: words(panel) }, displayColors: false },
    },
  });

  const choice = (text, checked, change, swatch) => {
    const label = make("label");
    const box = make("input", { type: "checkbox" });
    box.checked = checked;
    box.addEventListener("change", () => change(box.checked));
    label.append(box);
    if (swatch) { label.append(swatch); }
    label.append(make("span", {}, text));
    return label;
  };

  const draw = (panel) => {
    const holder = make("div", { class: "chart" });
    const frame = make("div", { class: "canvas" });
    const canvas = make("canvas", { role: "img", "aria-label": `${panel.title}; its numbers are in the tables below` });
    frame.append(canvas);
    const chart = new Chart(canvas, {
      type: "scatter",
      data: { datasets: panel.series.map(dataset) },
      options: options(panel),
      plugins: [intervals],
    });
    chart.redraw = () => {
      chart.data.datasets.forEach((of, i) => {
        of.borderColor = of.backgroundColor = colour(panel.series[i].colour);
      });
      chart.options.scales = { x: axis(panel, "x"), y: axis(panel, "y") };
      chart.update();
    };
    charts.add(chart);
    const chosen = make("fieldset", { class: "choices" });
    chosen.append(make("legend", { class: "soft" }, "Shown"));
    panel.series.forEach((series, index) => {
      const swatch = make("span", { class: "swatch" });
      swatch.style.background = `var(--k${series.colour.slice(1)}, ${series.colour})`;
      chosen.append(choice(series.name, true, (on) => { chart.setDatasetVisibility(index, on); chart.update(); }, swatch));
    });
    for (const which of ["x", "y"]) {
      const positive = panel.series.every((series) => series.points.every((point) => point[which] > 0));
      if (positive && !panel.ticks[which]) {
        chosen.append(choice(`log ${which}`, panel.log[which], (on) => { panel.log[which] = on; chart.redraw(); }));
      }
    }
    holder.append(make("h3", {}, panel.title), frame, chosen);
    return holder;
  };

  const open = (figure, button) => {
    const plot = figure.querySelector(".plot");
    let box = figure.querySelector(".charts");
    if (!box) {
      box = make("div", { class: "charts" });
      plot.after(box);
      for (const table of figure.querySelectorAll("table.data")) box.append(draw(panelOf(table)));
    }
    const closer = plot.hidden = !plot.hidden;
    box.hidden = !closer;
    button.textContent = closer ? "Back to the figure" : "Look closer";
    button.setAttribute("aria-expanded", String(closer));
    if (closer) { charts.forEach((chart) => chart.resize()); }
  };

  for (const figure of document.querySelectorAll("figure")) {
    if (!figure.querySelector("table.data") || !figure.querySelector(".plot")) continue;
    const button = make("button", { type: "button", "aria-expanded": "false" }, "Look closer");
    button.addEventListener("click", () => open(figure, button));
    figure.querySelector(".plot").before(button);
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => charts.forEach((chart) => chart.redraw()));
  // On paper everything is there: what is folded is unfolded for the print, and folded again.
  const folded = new Set();
  addEventListener("beforeprint", () => {
    for (const details of document.querySelectorAll("details.print:not([open])")) { folded.add(details); details.open = true; }
  });
  addEventListener("afterprint", () => { folded.forEach((details) => { details.open = false; }); folded.clear(); });
})();
