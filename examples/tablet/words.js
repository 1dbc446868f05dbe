/** What the page says, in plain words. */

const SURE = 0.9;
const LEANING = 0.6;
const KINDS = {
  exact: "the audited numbers, in exactly their bits",
  int8: "whole-number arithmetic, with an audit of its own",
  float: "full precision, not compressed",
};

export function percent(share) {
  if (share < 0.005) return "under 1\u00a0%";
  if (share > 0.995 && share < 1) return "over 99\u00a0%";
  return `${Math.round(share * 100)}\u00a0%`;
}

/** Classes from likely to unlikely: [{name, share}]. */
export function ranked(classes, probabilities) {
  return classes
    .map((name, place) => ({ name, share: probabilities[place] }))
    .sort((one, other) => other.share - one.share);
}

/** The largest words on the page: no class where the classifier weighs several about alike. */
export function headline([first]) {
  return first.share < LEANING ? "No clear answer" : first.name;
}

export function explanation([first, second]) {
  if (first.share >= SURE) return `It gives this class nearly all its weight: ${percent(first.share)}.`;
  const next = `next comes ${second.name} with ${percent(second.share)}`;
  if (first.share >= LEANING) return `It leans towards this class with ${percent(first.share)}; ${next}.`;
  return `It cannot decide: ${first.name} has ${percent(first.share)}, ${next}.`;
}

export function limitsOfAnswer(classes) {
  return (
    "The shares say how the classifier weighs its classes, not how likely a disease is. It can be wrong at any " +
    `share. It knows these ${classes.length} classes only and names one of them even if the photo shows something else.`
  );
}

export function milliseconds(value) {
  return value < 995 ? `${Math.max(1, Math.round(value))} ms` : `${(value / 1000).toFixed(1)} s`;
}

function size(bytes) {
  return bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

/** One line under the title. */
export function modelLine({ name, architecture, plan }) {
  const bits = plan ? `, ${plan.average_bits.toFixed(1)} bits per weight` : "";
  return name === architecture ? `${name}${bits}` : `${name} (${architecture}${bits})`;
}

/** What was decided about the classifier; what stands in the file itself gives way to what the bundle says. */
export function decided({ extra = {}, facts = {} }) {
  return { ...extra, ...facts };
}

export function uses(about) {
  const { intended_use: use, do_not_use: never, approved_by: by, override, verdict } = decided(about);
  if (!by) return "No approval is recorded for this classifier: for trying out only, never for care.";
  const other = never ? ` Not for: ${sentence(never)}` : "";
  const spite = override ? ` Approved in spite of the verdict of the audit (${verdict}): ${sentence(override)}` : "";
  return `${use ? `Approved for: ${sentence(use)}` : "Only for uses that were approved."}${other}${spite}`;
}

function sentence(text) {
  return /[.!?]$/.test(text.trim()) ? text.trim() : `${text.trim()}.`;
}

function approval({ approved_by: by, approved_role: role, approved_at: at }) {
  if (!by) return "none recorded";
  const day = at ? ` on ${at.slice(0, 10)}` : "";
  return `by ${by}${role ? ` (${role})` : ""}${day}; the name was typed, not checked`;
}

/** Rows of the table about the classifier: [words, value, "code" where it is one]. */
export function facts({ about, hashed, difference, milliseconds: took }) {
  const what = decided(about);
  const rows = [
    ["Classifier", modelLine(about)],
    ["Numbers", `${KINDS[about.kind] ?? about.kind}; ${size(about.file.bytes)}`],
    ["Verdict of the audit", what.verdict || "none recorded"],
    ["Approved", approval(what)],
  ];
  if (what.override) rows.push(["Approved in spite of the verdict, because", what.override]);
  if (what.comment) rows.push(["Comment", what.comment]);
  if (what.intended_use) rows.push(["For", what.intended_use]);
  if (what.do_not_use) rows.push(["Not for", what.do_not_use]);
  if (what.case) rows.push(["Case", what.case]);
  if (what.run) rows.push(["Run", what.run]);
  rows.push(
    ["Classes", about.classes.join(", ")],
    ["Same numbers as audited", `yes: on the reference picture the answer differs by ${difference.toExponential(0)} of the largest logit`],
    ["File", hashed ? "unchanged since the export (SHA-256 checked)" : "not checked: that needs https or localhost"],
    ["Opened in", `${milliseconds(took.all)}, of which ${milliseconds(took.session)} for unpacking the weights`],
    ["Fingerprint", about.fingerprint, "code"],
    ["SHA-256 of model.onnx", about.file.sha256, "code"],
  );
  return rows;
}
