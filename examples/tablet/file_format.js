/**
 * What a JPEG or PNG file says about itself, and its bytes without anything but the pixels.
 *
 * Colour profiles and the way a camera was held are read by each browser in its own manner, and Python's way is fixed:
 * profiles count for nothing, the orientation is applied once. So both are taken out of the file before the browser
 * decodes it, and places, dates and names go with them.
 */

/** Largest picture that is opened, in pixels; the audit's own limit. */
const MAX_PIXELS = 64_000_000;
const ORIENTATION = 0x0112;
const NUMBER_OF_IMAGES = 0xb001;
const ORIENTATION_AS_TEXT = /tiff:Orientation(?:="|>)([0-9])/;
const PNG_START = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const PNG_PIXELS = new Set(["IHDR", "PLTE", "tRNS", "IDAT", "IEND"]);

/** A file that cannot be used; the message says what to do. */
export class PictureError extends Error {}

const OTHER_KIND = "This is not a JPEG or PNG picture. Save it as one of these, or take a photo with the camera.";
const CUT_OFF = "This picture file is cut off or damaged. Copy the original file again.";
const FOUR_COLOURS = "This JPEG is made for printing (CMYK). Save it as an ordinary colour picture.";
const TOO_LARGE = "This picture has more than 64 million pixels. Save a smaller copy.";

/**
 * Look through a file.
 *
 * Returns {kind, bytes, width, height, orientation, single}: `bytes` hold the pixels only; `orientation` is 1 to 8;
 * `single` is false for a JPEG that carries further pictures.
 */
export function readFormat(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let found;
  try {
    if (bytes[0] === 0xff && bytes[1] === 0xd8) found = readJpeg(bytes, view);
    else if (PNG_START.every((value, place) => bytes[place] === value)) found = readPng(bytes, view);
    else throw new PictureError(OTHER_KIND);
  } catch (error) {
    if (error instanceof RangeError) throw new PictureError(CUT_OFF);
    throw error;
  }
  if (!found.width || !found.height) throw new PictureError(CUT_OFF);
  if (found.width * found.height > MAX_PIXELS) throw new PictureError(TOO_LARGE);
  return found;
}

function readJpeg(bytes, view) {
  const found = { kind: "image/jpeg", width: 0, height: 0, orientation: null, single: true };
  const kept = [bytes.subarray(0, 2)];
  let [pictures, gainMap, turned] = [1, false, null];
  let at = 2;
  for (;;) {
    while (view.getUint8(at + 1) === 0xff) at += 1;
    const marker = view.getUint8(at + 1);
    const end = at + 2 + view.getUint16(at + 2);
    if (view.getUint8(at) !== 0xff || end > bytes.length) throw new PictureError(CUT_OFF);
    const body = bytes.subarray(at + 4, end);
    if (isFrame(marker)) {
      [found.height, found.width] = [view.getUint16(at + 5), view.getUint16(at + 7)];
      if (view.getUint8(at + 9) === 4) throw new PictureError(FOUR_COLOURS);
    }
    if (marker === 0xe1 && startsWith(body, "Exif\0\0")) found.orientation ??= tag(body.subarray(6), ORIENTATION);
    if (marker === 0xe1 && startsWith(body, "http://ns.adobe.com/xap/1.0/\0")) turned ??= inText(body);
    if (marker === 0xe1) gainMap ||= asText(body).includes(' hdrgm:Version="');
    if (marker === 0xe2 && startsWith(body, "MPF\0")) pictures = tag(body.subarray(4), NUMBER_OF_IMAGES) ?? 1;
    if (marker === 0xda) break;
    if (!isRemark(marker)) kept.push(bytes.subarray(at, end));
    at = end;
  }
  if (!endsWhole(bytes, at)) throw new PictureError(CUT_OFF);
  kept.push(bytes.subarray(at));
  found.single = pictures < 2 || gainMap;
  return { ...found, orientation: found.orientation ?? turned ?? 1, bytes: kept };
}

/** Start of a frame: the marker that tells the size. */
function isFrame(marker) {
  return marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker);
}

/** Application segments and comments; JFIF and Adobe stay, because they say how colours are coded. */
function isRemark(marker) {
  return (marker > 0xe0 && marker <= 0xef && marker !== 0xee) || marker === 0xfe;
}

function endsWhole(bytes, from) {
  for (let at = bytes.length - 2; at > from; at -= 1) {
    if (bytes[at] === 0xff && bytes[at + 1] === 0xd9) return true;
  }
  return false;
}

function readPng(bytes, view) {
  const found = { kind: "image/png", width: view.getUint32(16), height: view.getUint32(20), single: true };
  const kept = [bytes.subarray(0, 8)];
  let [orientation, turned] = [null, null];
  let at = 8;
  for (let name = ""; name !== "IEND"; ) {
    const end = at + 12 + view.getUint32(at);
    if (end > bytes.length) throw new PictureError(CUT_OFF);
    name = asText(bytes.subarray(at + 4, at + 8));
    const body = bytes.subarray(at + 8, end - 4);
    if (name === "eXIf") orientation ??= tag(body, ORIENTATION);
    if (name === "iTXt" && startsWith(body, "XML:com.adobe.xmp\0")) turned ??= inText(body);
    if (PNG_PIXELS.has(name)) kept.push(bytes.subarray(at, end));
    at = end;
  }
  return { ...found, orientation: orientation ?? turned ?? 1, bytes: kept };
}

function asText(bytes) {
  return new TextDecoder("latin1").decode(bytes);
}

function startsWith(bytes, text) {
  return asText(bytes.subarray(0, text.length)) === text;
}

function inText(bytes) {
  const match = ORIENTATION_AS_TEXT.exec(asText(bytes));
  return match ? Number(match[1]) : null;
}

/** A whole number from the first directory of a TIFF structure, or null. */
function tag(bytes, wanted) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  try {
    const little = view.getUint16(0) === 0x4949;
    const start = view.getUint32(4, little);
    for (let entry = 0; entry < view.getUint16(start, little); entry += 1) {
      const at = start + 2 + 12 * entry;
      if (view.getUint16(at, little) === wanted) {
        const long = view.getUint16(at + 2, little) === 4;
        return long ? view.getUint32(at + 8, little) : view.getUint16(at + 8, little);
      }
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  return null;
}
