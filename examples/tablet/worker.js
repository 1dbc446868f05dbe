/**
 * The classifier in a thread of its own, so that the page stays usable while it computes.
 *
 * Messages in: {id, kind: "open"} and {id, kind: "classify", file | bitmap}. Messages out: {stage} while opening, then
 * {id, result} or {id, problem}.
 */

import * as ort from "./runtime/ort.wasm.bundle.min.mjs";
import { PictureError } from "./file_format.js";
import { pixelsOfFile, readPixels } from "./picture.js";
import { normalise, softmax, square } from "./preprocess.js";

/** Largest difference of logits, relative to the largest logit, that counts as the same; the export's own limit. */
const LIMIT = 1e-4;
const VERSION = 1;

const NOT_LOADED = "could not be loaded. Is the server still running?";
const NOT_READ = "model.json is damaged. Copy the whole folder again.";
const NOT_OPENED = "This browser could not open the classifier. Copy the whole folder again, or update the browser. Its own words:";
const OTHER_FORMAT = "model.json was written by another version of this program. Export the bundle again.";
const OTHER_MODEL = "model.onnx is not the file that was exported (its SHA-256 differs). Copy the whole folder again.";
const OTHER_NUMBERS =
  "This browser does not compute what was audited: on the reference picture its answer differs from Python's. " +
  "Privacy settings that change what a page reads from pictures do this; switch them off for this page, or use another browser.";

ort.env.wasm.numThreads = 1;
ort.env.wasm.wasmPaths = { wasm: new URL("./runtime/ort-wasm-simd-threaded.wasm", import.meta.url).href };

let opened = null;

async function load(name) {
  let response;
  try {
    // A copy of an earlier classifier, kept by the browser, would not fit to the rest.
    response = await fetch(name, { cache: "no-cache" });
  } catch (error) {
    throw new PictureError(`${name} ${NOT_LOADED}`, { cause: error });
  }
  if (!response.ok) throw new PictureError(`${name} ${NOT_LOADED} (${response.status})`);
  return response;
}

async function sha256(bytes) {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

async function description() {
  const response = await load("model.json");
  try {
    return await response.json();
  } catch (error) {
    throw new PictureError(NOT_READ, { cause: error });
  }
}

async function unpack(bytes) {
  try {
    return await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  } catch (error) {
    throw new PictureError(`${NOT_OPENED} ${error.message}`, { cause: error });
  }
}

async function open() {
  const started = performance.now();
  self.postMessage({ stage: "Reading the classifier" });
  const about = await description();
  if (about.format !== "fairquant-onnx" || about.version !== VERSION) {
    throw new PictureError(OTHER_FORMAT);
  }
  const bytes = new Uint8Array(await (await load(about.file.name)).arrayBuffer());
  // Browsers offer hashes to pages from https or localhost only.
  const hashed = Boolean(self.crypto?.subtle);
  if (hashed && (await sha256(bytes)) !== about.file.sha256) throw new PictureError(OTHER_MODEL);
  self.postMessage({ stage: "Unpacking its weights" });
  const unpacking = performance.now();
  const session = await unpack(bytes);
  const unpacked = performance.now();
  opened = { about, session };
  self.postMessage({ stage: "Comparing with the audited numbers" });
  const difference = await compare(about);
  if (!(difference <= LIMIT)) {
    opened = null;
    throw new PictureError(OTHER_NUMBERS);
  }
  return {
    about,
    hashed,
    difference,
    milliseconds: { session: unpacked - unpacking, all: performance.now() - started },
  };
}

/** How far the reference picture's logits are from those that Python computed when the file was exported. */
async function compare({ check }) {
  const bytes = new Uint8Array(await (await load(check.picture)).arrayBuffer());
  const { logits } = await classify({ file: bytes });
  const largest = Math.max(...check.logits.map(Math.abs));
  return Math.max(...logits.map((logit, place) => Math.abs(logit - check.logits[place]))) / largest;
}

async function classify({ file, bitmap }) {
  const { about, session } = opened;
  const started = performance.now();
  const pixels = file ? await pixelsOfFile(file, about.preprocessing) : readPixels(bitmap);
  const seen = square(pixels, about.preprocessing);
  const input = normalise(seen, about.preprocessing);
  const prepared = performance.now();
  const tensor = new ort.Tensor("float32", input, [1, 3, seen.height, seen.width]);
  const output = await session.run({ [about.input]: tensor });
  const classified = performance.now();
  const logits = Array.from(output[about.output].data);
  return {
    logits,
    probabilities: softmax(logits),
    seen,
    milliseconds: { prepare: prepared - started, classify: classified - prepared },
  };
}

const ACTIONS = { open, classify };

self.onmessage = async ({ data }) => {
  try {
    self.postMessage({ id: data.id, result: await ACTIONS[data.kind](data) });
  } catch (error) {
    const expected = error instanceof PictureError;
    if (!expected) console.error(error);
    self.postMessage({ id: data.id, problem: expected ? error.message : `Something went wrong here: ${error.message}` });
  }
};
