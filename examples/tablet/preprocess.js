/**
 * From upright pixels to the classifier's input: the steps of the audit, in its arithmetic.
 *
 * A picture is {width, height, data}: three bytes per pixel, row by row. `preprocessing` is that of model.json.
 */

import { resize, roundHalfEven } from "./resample.js";

/** The shorter side before the centre is cut out. */
export function shorterSide({ size, crop_fraction: fraction = 1 }) {
  return Math.max(size, roundHalfEven(size / fraction));
}

/** Resize, then cut the square out of the middle. */
export function square(picture, preprocessing) {
  const { size, interpolation = "bicubic" } = preprocessing;
  const scale = shorterSide(preprocessing) / Math.min(picture.width, picture.height);
  const width = Math.max(size, roundHalfEven(picture.width * scale));
  const height = Math.max(size, roundHalfEven(picture.height * scale));
  const resized = resize(picture, width, height, interpolation);
  const [left, top] = [Math.floor((width - size) / 2), Math.floor((height - size) / 2)];
  const data = new Uint8Array(size * size * 3);
  for (let row = 0; row < size; row += 1) {
    const from = ((top + row) * width + left) * 3;
    data.set(resized.data.subarray(from, from + size * 3), row * size * 3);
  }
  return { width: size, height: size, data };
}

/** Bytes to the range the classifier was trained with: float32, one plane per colour. */
export function normalise({ width, height, data }, { mean, std }) {
  const plane = width * height;
  const result = new Float32Array(3 * plane);
  for (let colour = 0; colour < 3; colour += 1) {
    // Rounded to float32 after every step, as numpy and torch do.
    const middle = Math.fround(Math.fround(mean[colour]) * 255);
    const scale = Math.fround(1 / Math.fround(Math.fround(std[colour]) * 255));
    for (let pixel = 0; pixel < plane; pixel += 1) {
      result[colour * plane + pixel] = Math.fround(data[pixel * 3 + colour] - middle) * scale;
    }
  }
  return result;
}

/** Logits to shares that add up to 1. */
export function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((one, other) => one + other, 0);
  return powers.map((power) => power / sum);
}
