// Turns a file that the user chose, dropped, pasted or photographed into a picture to show and the bytes to send.
//
// A 48-megapixel photo is turned upright and shrunk here, so that a phone sends 0.5 MB and not 15. Formats that this
// browser can open and the service may not (AVIF; HEIC and TIFF in Safari) are converted, so the service can read them
// too. A file that this browser cannot open is sent as it is: some services read HEIC and TIFF.

import { FORMAT_ADVICE, PageError } from "./errors.js";

export const MAX_SIDE_PX = 2048; // of the longer side of a picture that is sent
const MAX_BYTES = 10_000_000; // of a file that is sent unchanged: the service's default limit
const ACCEPTED_TYPES = new Set(["image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"]); // by the service

export class Picture {
  // image: what the pad draws, upright; null if this browser cannot show it. Width and height are in pixels.
  constructor(blob, image, width, height) {
    Object.assign(this, { blob, image, width, height });
  }

  static async fromFile(file) {
    const image = await openImage(file);
    if (image === null) {
      if (file.size > MAX_BYTES)
        throw new PageError("This browser cannot open that file as a picture.", { advice: FORMAT_ADVICE });
      return new Picture(file, null, 0, 0); // the service reads it, or reports what is wrong with it
    }
    const width = image.naturalWidth || MAX_SIDE_PX; // an SVG may have no size of its own
    const height = image.naturalHeight || MAX_SIDE_PX;
    const scale = Math.min(1, MAX_SIDE_PX / Math.max(width, height));
    if (scale === 1 && ACCEPTED_TYPES.has(file.type) && file.size <= MAX_BYTES)
      return new Picture(file, image, width, height); // the file itself, bit for bit
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height); // upright: browsers apply the EXIF orientation
    const opaque = file.type === "image/jpeg" || isOpaque(context, canvas);
    return new Picture(await encode(canvas, opaque ? "image/jpeg" : "image/png"), canvas, canvas.width, canvas.height);
  }
}

// Returns null if this browser cannot open the file as an image.
async function openImage(file) {
  const image = new Image();
  const address = URL.createObjectURL(file);
  try {
    await new Promise((resolve, reject) => {
      image.onload = resolve;
      image.onerror = reject;
      image.src = address;
    });
    return image;
  } catch {
    return null;
  } finally {
    URL.revokeObjectURL(address);
  }
}

function isOpaque(context, { width, height }) {
  const { data } = context.getImageData(0, 0, width, height);
  for (let index = 3; index < data.length; index += 4) if (data[index] < 255) return false;
  return true;
}

export function encode(canvas, type) {
  return new Promise((resolve) => canvas.toBlob(resolve, type, 0.92));
}

// Saves a file on the user's device.
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
