/**
 * Resizing in Pillow's own arithmetic, so that a picture becomes the same pixels here as in the audit.
 *
 * A browser's canvas resizes in another way, with other pixels and so other probabilities. Here, as in Pillow, one
 * pass goes along the rows and one along the columns; weights are whole numbers with 22 binary places, and each pass
 * rounds to bytes, so the order of the passes matters too: it is that of Pillow 13. A picture is
 * {width, height, data}: three bytes per pixel, row by row.
 *
 * Source: the behaviour of Pillow's Image.resize; equality to the bit is proved by tests/browser/test_tablet_pictures.py.
 */

const PLACES = 22;
const ONE = 2 ** PLACES;
const HALF = 2 ** (PLACES - 1);

/** Reach in pixels of the larger picture's grid, and weight at a distance. */
const FILTERS = {
  bilinear: { reach: 1, weight: (x) => Math.max(0, 1 - Math.abs(x)) },
  bicubic: { reach: 2, weight: (x) => cubic(Math.abs(x)) },
  lanczos: { reach: 3, weight: (x) => (-3 <= x && x < 3 ? wave(x) * wave(x / 3) : 0) },
};

const SHARPNESS = -0.5;

function cubic(x) {
  if (x < 1) return ((SHARPNESS + 2) * x - (SHARPNESS + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * SHARPNESS;
  return 0;
}

function wave(x) {
  return x === 0 ? 1 : Math.sin(x * Math.PI) / (x * Math.PI);
}

/** Rounds halves to the even neighbour, as Python's round() does. */
export function roundHalfEven(value) {
  const below = Math.floor(value);
  const rest = value - below;
  if (rest !== 0.5) return rest < 0.5 ? below : below + 1;
  return below % 2 === 0 ? below : below + 1;
}

/** For every place along one side of the new picture: where its old pixels start, and their whole-number weights. */
function weightsAlong(before, after, { reach, weight }) {
  const scale = before / after;
  const stretch = Math.max(1, scale);
  const support = reach * stretch;
  const shrink = 1 / stretch;
  return Array.from({ length: after }, (_, place) => {
    const centre = (place + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(before, Math.trunc(centre + support + 0.5));
    const exact = [];
    let sum = 0;
    for (let at = 0; at < end - start; at += 1) {
      exact.push(weight((at + start - centre + 0.5) * shrink));
      sum += exact[at];
    }
    const whole = exact.map((value) => {
      const part = sum === 0 ? value : value / sum;
      return Math.trunc(part * ONE + (part < 0 ? -0.5 : 0.5));
    });
    return { start, weights: Int32Array.from(whole) };
  });
}

function toByte(sum) {
  const value = sum >> PLACES;
  return value < 0 ? 0 : value > 255 ? 255 : value;
}

/** One pass along the rows, or along the columns. */
function pass(picture, after, filter, alongRows) {
  const { width, height, data } = picture;
  const places = weightsAlong(alongRows ? width : height, after, filter);
  const size = alongRows ? { width: after, height } : { width, height: after };
  const result = new Uint8Array(size.width * size.height * 3);
  const step = alongRows ? 3 : width * 3;
  let target = 0;
  for (let y = 0; y < size.height; y += 1) {
    for (let x = 0; x < size.width; x += 1) {
      const { start, weights } = places[alongRows ? x : y];
      let from = alongRows ? (y * width + start) * 3 : (start * width + x) * 3;
      let [red, green, blue] = [HALF, HALF, HALF];
      for (let at = 0; at < weights.length; at += 1) {
        const weight = weights[at];
        red += data[from] * weight;
        green += data[from + 1] * weight;
        blue += data[from + 2] * weight;
        from += step;
      }
      result[target] = toByte(red);
      result[target + 1] = toByte(green);
      result[target + 2] = toByte(blue);
      target += 3;
    }
  }
  return { ...size, data: result };
}

/** The old place of every new one when no weighting is asked for; adds up step by step, as Pillow does. */
function nearestAlong(before, after) {
  const step = before / after;
  let at = step * 0.5;
  return Int32Array.from({ length: after }, () => {
    const place = Math.floor(at);
    at += step;
    return Math.min(place, before - 1);
  });
}

function nearest({ width, height, data }, newWidth, newHeight) {
  const [columns, rows] = [nearestAlong(width, newWidth), nearestAlong(height, newHeight)];
  const result = new Uint8Array(newWidth * newHeight * 3);
  let target = 0;
  for (const row of rows) {
    for (const column of columns) {
      const from = (row * width + column) * 3;
      result.set(data.subarray(from, from + 3), target);
      target += 3;
    }
  }
  return { width: newWidth, height: newHeight, data: result };
}

/** A picture in another size, with the pixels of Pillow's Image.resize. */
export function resize(picture, width, height, interpolation) {
  if (picture.width === width && picture.height === height) return picture;
  if (interpolation === "nearest") return nearest(picture, width, height);
  const filter = FILTERS[interpolation];
  if (!filter) throw new Error(`The classifier asks for the unknown resizing "${interpolation}".`);
  const columnsFirst = picture.height - height > 2 * Math.max(0, picture.width - width);
  let result = picture;
  for (const alongRows of columnsFirst ? [false, true] : [true, false]) {
    const after = alongRows ? width : height;
    if ((alongRows ? result.width : result.height) !== after) result = pass(result, after, filter, alongRows);
  }
  return result;
}
