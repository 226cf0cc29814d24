// Numbers with units for people; sizes are bytes, times milliseconds, energies microjoules.

const BYTE_STEPS = [[1024 ** 2, "MiB"], [1024, "KiB"], [1, "B"]];
const TIME_STEPS = [[1e3, "s"], [1, "ms"], [1e-3, "µs"], [1e-6, "ns"]];
const ENERGY_STEPS = [[1e6, "J"], [1e3, "mJ"], [1, "µJ"], [1e-3, "nJ"], [1e-6, "pJ"]];
const COST_STEPS = {
  flash_bytes: BYTE_STEPS,
  peak_ram_bytes: BYTE_STEPS,
  latency_ms: TIME_STEPS,
  energy_uj: ENERGY_STEPS,
};
const UNKNOWN = "–";
const SAME = "the same";

function inSteps(value, steps) {
  const [factor, unit] = steps.find(([least]) => Math.abs(value) >= least) ?? steps.at(-1);
  return `${significant(value / factor, 4)} ${unit}`;
}

const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function significant(value, digits) {
  const rounded = Number(value.toPrecision(digits));
  if (rounded !== 0 && Math.abs(rounded) < 1e-3) return scientific(rounded);
  return String(rounded).replace("-", "−");
}

function scientific(value) {
  const [factor, exponent] = value.toExponential().split("e-");
  const raised = exponent.replace(/\d/g, (digit) => SUPERSCRIPTS[digit]);
  return `${factor.replace("-", "−")}×10⁻${raised}`;
}

function formatCost(metric, value) {
  return value === null ? UNKNOWN : inSteps(value, COST_STEPS[metric]);
}

function formatBytes(value) {
  return value === null ? UNKNOWN : inSteps(value, BYTE_STEPS);
}

function formatSeconds(value) {
  if (value < 60) return inSteps(1000 * value, TIME_STEPS);
  const whole = Math.round(value);
  const [hours, minutes, seconds] = [whole / 3600, (whole % 3600) / 60, whole % 60].map(Math.floor);
  return hours ? `${hours} h ${minutes} min` : `${minutes} min ${seconds} s`;
}

function formatCount(value) {
  return value.toLocaleString("en-US");
}

function formatPercent(fraction, decimals) {
  return `${(100 * fraction).toFixed(decimals)} %`;
}

// A share of a limit, cut and not rounded: "100 %" has to mean the limit.
function formatShare(share) {
  return `${Math.floor(100 * share)} %`;
}

function formatQuality(metric, value) {
  if (value === null) return UNKNOWN;
  return metric === "accuracy" ? formatPercent(value, 2) : significant(value, 3);
}

function formatRise(score) {
  if (!score) return UNKNOWN;
  return `${significant(score.rise, 2)} ± ${significant(score.standard_error, 1)}`;
}

function withSign(text, value) {
  return value > 0 ? `+${text}` : text.replace("-", "−");
}

// "4.2× smaller": how much less `after` is than `before`.
function formatFactor(before, after, less, more) {
  if (before === null || !before || !after) return UNKNOWN;
  if (before === after) return SAME;
  const [factor, word] = before > after ? [before / after, less] : [after / before, more];
  if (factor < 1.1) return `${significant(100 * Math.abs(1 - after / before), 2)} % ${word}`;
  return `${factor.toFixed(factor < 100 ? 1 : 0)}× ${word}`;
}

function plural(count, one, many) {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}
