const numbers = (text) => text.split(" ").map(Number);
const scaled = (x, units) => {
  const [scale, unit] = units.find(([scale]) => x >= scale) ?? units.at(-1);
  const digits = scale === 1 ? {} : { minimumSignificantDigits: 3, maximumSignificantDigits: 3 }; // As in the words beside.
  return (x / scale).toLocaleString("en", digits) + " " + unit;
};
const bytes = (x) => scaled(x, [[1e12, "TB"], [1e9, "GB"], [1e6, "MB"], [1e3, "kB"], [1, "B"]]);
const time = (x) => scaled(x, [[1e9, "s"], [1e6, "ms"], [1e3, "µs"], [1, "ns"]]);
for (const chart of document.querySelectorAll(".chart")) {
  const hover = chart.querySelector(".hover"), cursor = chart.querySelector(".cursor");
  const starts = numbers(chart.dataset.starts), [from, to, columns] = numbers(chart.dataset.time);
  const [reserved, ...bands] = [...chart.querySelectorAll(".reserved"), ...chart.querySelectorAll(".band")].map((path) => {
    const changes = numbers(path.dataset.bytes), name = path.textContent;
    path.replaceChildren(); // The words under the pointer take the place of the title.
    const at = (run) => changes.reduce((now, x, i) => (i % 2 && changes[i - 1] <= run ? x : now), 0);
    return { path, name, at };
  });
  chart.onpointermove = ({ clientX, target }) => {
    const box = chart.firstElementChild.getBoundingClientRect();
    const part = Math.min(Math.max((clientX - box.left) / box.width, 0), 0.9999);
    const run = starts.findLastIndex((start) => start <= Math.floor(part * columns));
    const band = bands.find(({ path }) => path === target);
    const live = bands.reduce((sum, band) => sum + band.at(run), 0);
    const pool = `live ${bytes(live)}, reserved ${bytes(reserved.at(run))} at ${time(from + part * (to - from))}`;
    const owner = band?.name.replace(/, (?=[^,]*$)/, `\n${bytes(band.at(run))} now, `);
    hover.textContent = owner ? `${owner}\n${pool}` : pool;
    hover.style.setProperty("--x", part);
    cursor.setAttribute("transform", `translate(${part * box.width})`);
  };
}
