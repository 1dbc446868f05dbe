/** From a file, or a camera's frame, to upright pixels: {width, height, data}, three bytes per pixel. */

import { PictureError, readFormat } from "./file_format.js";
import { shorterSide } from "./preprocess.js";

const NOT_DECODED = "This browser cannot decode the picture. Save it again as JPEG or PNG.";
/** Rows that are read from the browser at once; a large picture does not fit on one canvas everywhere. */
const STRIP_PIXELS = 1 << 21;

/** The pixels of a chosen file, for a classifier with this preprocessing. */
export async function pixelsOfFile(bytes, preprocessing) {
  const file = readFormat(bytes);
  let bitmap;
  try {
    bitmap = await createImageBitmap(new Blob(file.bytes, { type: file.kind }), { colorSpaceConversion: "none" });
  } catch (error) {
    throw new PictureError(NOT_DECODED, { cause: error });
  }
  return upright(readPixels(bitmap, reduction(file, shorterSide(preprocessing))), file.orientation);
}

/**
 * How many times smaller a large JPEG is decoded: 1, 2, 4 or 8.
 *
 * Python lets the JPEG decoder skip detail as long as twice the wanted side remains; the same shrinking is done here,
 * on the decoded pixels.
 */
function reduction({ kind, width, height, single }, shorter) {
  if (kind !== "image/jpeg" || !single) return 1;
  const room = Math.floor(Math.min(width, height) / (2 * shorter));
  return [8, 4, 2].find((factor) => room >= factor) ?? 1;
}

/** Pixels of a bitmap, every `factor` x `factor` of them averaged; what is transparent shows white. */
export function readPixels(bitmap, factor = 1) {
  const { width, height } = bitmap;
  const rows = Math.max(factor, Math.floor(STRIP_PIXELS / width / factor) * factor);
  const canvas = new OffscreenCanvas(width, Math.min(rows, height));
  const context = canvas.getContext("2d", { willReadFrequently: true, alpha: false });
  context.fillStyle = "white";
  const result = {
    width: Math.ceil(width / factor),
    height: Math.ceil(height / factor),
  };
  const data = new Uint8Array(result.width * result.height * 3);
  for (let top = 0; top < height; top += rows) {
    const count = Math.min(rows, height - top);
    context.fillRect(0, 0, width, count);
    context.drawImage(bitmap, 0, top, width, count, 0, 0, width, count);
    const strip = { width, height: count, data: context.getImageData(0, 0, width, count).data };
    average(strip, factor, data.subarray((top / factor) * result.width * 3));
  }
  bitmap.close();
  return { ...result, data };
}

/** Means of squares of four-byte pixels, written as three-byte pixels; squares at the border may be smaller. */
function average({ width, height, data }, factor, into) {
  let target = 0;
  for (let top = 0; top < height; top += factor) {
    const bottom = Math.min(height, top + factor);
    for (let left = 0; left < width; left += factor) {
      const right = Math.min(width, left + factor);
      const count = (bottom - top) * (right - left);
      let [red, green, blue] = [0, 0, 0];
      for (let y = top; y < bottom; y += 1) {
        for (let from = (y * width + left) * 4; from < (y * width + right) * 4; from += 4) {
          red += data[from];
          green += data[from + 1];
          blue += data[from + 2];
        }
      }
      into[target] = Math.round(red / count);
      into[target + 1] = Math.round(green / count);
      into[target + 2] = Math.round(blue / count);
      target += 3;
    }
  }
}

/** Turns a picture the way its camera says; orientations 2 to 8 as in EXIF, all else stays as it is. */
export function upright(picture, orientation) {
  if (!(orientation >= 2 && orientation <= 8)) return picture;
  const { width, height, data } = picture;
  const swapped = orientation >= 5;
  const [newWidth, newHeight] = swapped ? [height, width] : [width, height];
  const result = new Uint8Array(data.length);
  // Where the new picture's columns and rows come from: mirrored or not, seen in the old picture.
  const fromRight = [2, 3, 7, 8].includes(orientation);
  const fromBottom = [3, 4, 6, 7].includes(orientation);
  let target = 0;
  for (let y = 0; y < newHeight; y += 1) {
    for (let x = 0; x < newWidth; x += 1) {
      const [across, down] = swapped ? [y, x] : [x, y];
      const column = fromRight ? width - 1 - across : across;
      const row = fromBottom ? height - 1 - down : down;
      const from = (row * width + column) * 3;
      result[target] = data[from];
      result[target + 1] = data[from + 1];
      result[target + 2] = data[from + 2];
      target += 3;
    }
  }
  return { width: newWidth, height: newHeight, data: result };
}
