"use strict";
// Draws the data tables of a figure as charts in which values can be read off, series chosen, and axes made logarithmic.
// The page is whole without this: figures and tables are there, and this only adds a button to each figure.
(() => {
  const charts = new Set();
  Chart.defaults.font.family = "system-ui, sans-serif";

  const make = (tag, attributes = {}, text = "") => {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.textContent = text;
    return element;
  };
  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (hex) => style(`--k${hex.slice(1)}`) || hex;
  const short = (value) => Number(value.toPrecision(4)).toString();

  // One series is one tbody, one point a row: its numbers in data-p, and its name in the first of three cells.
  const pointOf = (row) => {
    const [x, y, ...rest] = row.dataset.p.split(" ");
    const name = row.cells.length > 2 ? row.cells[0].textContent : "";
    const spans = {};
    for (let i = 0; i < rest.length; i += 3) spans[rest[i]] = [Number(rest[i + 1]), Number(rest[i + 2])];
    return { x: Number(x), y: Number(y), name, spans };
  };
  const seriesOf = (body) => ({
    name: body.dataset.name,
    colour: body.dataset.colour,
    line: body.dataset.line === "1",
    dashed: body.dataset.dashed === "1",
    points: [...body.querySelectorAll("tr[data-p]")].map(pointOf),
  });

  const panelOf = (table) => ({
    title: table.dataset.title,
    labels: { x: table.dataset.x, y: table.dataset.y },
    ticks: JSON.parse(table.dataset.ticks),
    log: { x: table.dataset.log.includes("x"), y: table.dataset.log.includes("y") },
    inverted: { x: table.dataset.inverted.includes("x"), y: table.dataset.inverted.includes("y") },
    series: [...table.tBodies].map(seriesOf),
  });

  // A long title in several lines.
  const lines = (text) => (text.match(/.{1,38}(\s|$)|\S+/g) || []).map((line) => line.trim());

  const axis = (panel, which) => {
    const named = panel.ticks[which];
    const reached = panel.series.flatMap((series) => series.points.flatMap((point) => point.spans[which] || []));
    const within = reached.filter((value) => !panel.log[which] || value > 0);
    const scale = {
      type: panel.log[which] ? "logarithmic" : "linear",
      reverse: panel.inverted[which],
      ...(within.length ? { suggestedMin: Math.min(...within), suggestedMax: Math.max(...within) } : {}),
      title: { display: Boolean(panel.labels[which]), text: lines(panel.labels[which]), color: style("--soft") },
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
    pointRadius: series.line ? (series.dashed || series.points.length > 40 ? 0 : 1.5) : 3.5,
    pointHoverRadius: 6,
  });

  // The intervals around points, within the chart's area.
  const intervals = {
    id: "intervals",
    afterDatasetsDraw: ({ ctx, chartArea: area, data, scales }) => {
      ctx.save();
      ctx.beginPath();
      ctx.rect(area.left, area.top, area.width, area.height);
      ctx.clip();
      for (const of of data.datasets.filter((each) => !each.hidden)) {
        ctx.strokeStyle = of.borderColor;
        ctx.lineWidth = 1.5;
        for (const point of of.data) {
          const [x, y] = [scales.x.getPixelForValue(point.x), scales.y.getPixelForValue(point.y)];
          for (const [which, span] of Object.entries(point.spans)) {
            const [low, high] = span.map((value) => scales[which].getPixelForValue(value));
            ctx.beginPath();
            ctx.moveTo(which === "x" ? low : x, which === "x" ? y : low);
            ctx.lineTo(which === "x" ? high : x, which === "x" ? y : high);
            ctx.stroke();
          }
        }
      }
      ctx.restore();
    },
  };

  const words = (panel) => (item) => {
    const point = item.raw;
    const told = ["x", "y"].map((which) => {
      const named = (panel.ticks[which] || []).find(([place]) => place === point[which]);
      const span = point.spans[which] ? ` [${point.spans[which].map(short).join(", ")}]` : "";
      return `${panel.labels[which] || which}: ${named ? named[1] : short(point[which])}${span}`;
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

  // In the page before it is drawn: a chart asks how much room it has.
  const draw = (panel, box) => {
    const holder = make("div", { class: "chart" });
    const frame = make("div", { class: "canvas" });
    const canvas = make("canvas", { role: "img", "aria-label": `${panel.title}; its numbers are in the tables below` });
    frame.append(canvas);
    holder.append(make("h3", {}, panel.title), frame);
    box.append(holder);
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
      chosen.append(choice(series.name, true, (on) => { chart.data.datasets[index].hidden = !on; chart.update(); }, swatch));
    });
    for (const which of ["x", "y"]) {
      const positive = panel.series.every((series) => series.points.every((point) => point[which] > 0));
      if (positive && !panel.ticks[which]) {
        chosen.append(choice(`log ${which}`, panel.log[which], (on) => { panel.log[which] = on; chart.redraw(); }));
      }
    }
    holder.append(chosen);
  };

  const open = (figure, button) => {
    const plot = figure.querySelector(".plot");
    let box = figure.querySelector(".charts");
    if (!box) {
      box = make("div", { class: "charts" });
      plot.after(box);
      for (const table of figure.querySelectorAll("table.data")) draw(panelOf(table), box);
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
