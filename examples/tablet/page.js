/** The page: opens the classifier, takes a photo from a file or the camera, shows the answer. */

import { Classifier } from "./classifier.js";
import { Camera } from "./camera.js";
import { keepForOffline } from "./offline.js";
import * as words from "./words.js";

const NOTHING_YET = "Choose a photo or use the camera; the answer appears here.";

const element = (id) => document.getElementById(id);
const classifier = new Classifier((stage) => {
  element("stage").textContent = stage;
});
const camera = new Camera(element("live"));
let about = null;
let asked = 0;

function make(kind, text, className) {
  const node = document.createElement(kind);
  if (text) node.textContent = text;
  if (className) node.className = className;
  return node;
}

function show(...ids) {
  for (const id of ids) element(id).hidden = false;
}

function hide(...ids) {
  for (const id of ids) element(id).hidden = true;
}

function isWide() {
  return window.matchMedia("(min-width: 46rem)").matches;
}

function complain(error) {
  element("problem").textContent = error.message;
  show("problem");
}

async function start() {
  try {
    const opened = await classifier.open();
    about = opened.about;
    introduce(opened);
    hide("opening");
    show("workspace", "about");
    element("answer").replaceChildren(make("p", NOTHING_YET, "quiet"));
    document.body.dataset.state = "ready";
    document.body.dataset.seconds = (performance.now() / 1000).toFixed(3);
  } catch (error) {
    hide("opening");
    complain(error);
    document.body.dataset.state = "refused";
    return;
  }
  await keepForOffline(element("offline"));
}

function introduce(opened) {
  element("model-line").textContent = words.modelLine(about);
  element("uses").textContent = words.uses(about);
  for (const [name, value, kind] of words.facts(opened)) {
    const description = make("dd");
    description.append(kind === "code" ? make("code", value) : value);
    const pair = make("div");
    pair.append(make("dt", name), description);
    element("facts").append(pair);
  }
  element("about").open = isWide();
  if (!Camera.possible()) {
    hide("camera");
    show("snap-label");
  }
}

/** Ask the classifier; an answer that a newer question has overtaken is dropped. */
async function classify(question) {
  asked += 1;
  const own = asked;
  hide("problem");
  element("answer").replaceChildren(make("p", "Looking at the photo", "quiet"));
  element("answer").setAttribute("aria-busy", "true");
  try {
    const answer = await question();
    if (own === asked) showAnswer(answer);
  } catch (error) {
    if (own === asked) {
      element("answer").replaceChildren(make("p", "No answer for this photo.", "quiet"));
      hide("seen", "caption");
      show("empty");
      complain(error);
    }
  } finally {
    if (own === asked) element("answer").removeAttribute("aria-busy");
  }
}

function showAnswer({ probabilities, seen, milliseconds }) {
  showSquare(seen);
  const classes = words.ranked(about.classes, probabilities);
  const list = make("ol", "", "shares");
  for (const { name, share } of classes) {
    const row = make("li");
    const bar = make("div", "", "bar");
    bar.setAttribute("aria-hidden", "true");
    const filled = make("div");
    filled.style.width = `${share * 100}%`;
    bar.append(filled);
    row.append(make("span", name, "name"), make("span", words.percent(share), "share"), bar);
    list.append(row);
  }
  const took = `Prepared in ${words.milliseconds(milliseconds.prepare)}, classified in ${words.milliseconds(milliseconds.classify)}, on this device.`;
  element("answer").replaceChildren(
    make("p", words.headline(classes), "headline"),
    make("p", words.explanation(classes)),
    list,
    make("p", words.limitsOfAnswer(about.classes), "small"),
    make("p", took, "small"),
  );
  // On a small screen the answer stands below the photo.
  if (!isWide()) element("answer-title").scrollIntoView({ behavior: "smooth" });
}

/** The very pixels that went into the classifier. */
function showSquare({ width, height, data }) {
  const canvas = element("seen");
  [canvas.width, canvas.height] = [width, height];
  const picture = new ImageData(width, height);
  for (let pixel = 0; pixel < width * height; pixel += 1) {
    picture.data.set(data.subarray(pixel * 3, pixel * 3 + 3), pixel * 4);
    picture.data[pixel * 4 + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  element("caption").textContent = `What the classifier saw: ${width} x ${height} pixels from the middle of the photo.`;
  hide("empty");
  show("seen", "caption");
}

function onFile(event) {
  const [file] = event.target.files;
  if (file) classify(() => classifier.classifyFile(file));
  // So that choosing the same file again counts as a choice.
  event.target.value = "";
}

async function openCamera() {
  hide("problem");
  try {
    await camera.open();
  } catch (error) {
    complain(error);
    return;
  }
  asked += 1;
  element("answer").replaceChildren(make("p", "Take the picture; the answer appears here.", "quiet"));
  hide("empty", "seen", "caption", "choosing");
  show("live", "filming");
  element("take").focus();
}

function closeCamera() {
  camera.close();
  element("answer").replaceChildren(make("p", NOTHING_YET, "quiet"));
  hide("live", "filming");
  show("empty", "choosing");
  element("camera").focus();
}

async function takePicture() {
  const bitmap = await camera.picture();
  closeCamera();
  await classify(() => classifier.classifyBitmap(bitmap));
}

element("file").addEventListener("change", onFile);
element("snap").addEventListener("change", onFile);
element("camera").addEventListener("click", openCamera);
element("close").addEventListener("click", closeCamera);
element("take").addEventListener("click", takePicture);
document.addEventListener("visibilitychange", () => {
  if (document.hidden && camera.running) closeCamera();
});

start();
