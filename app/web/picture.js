// A file that somebody chose, dropped, pasted or photographed -> a picture to show, and the bytes to send.
//
// A photograph of 48 megapixels is turned upright and shrunk here, so that a phone sends 0.5 MB and not 15, and so that
// what this browser can open and the service cannot (AVIF; HEIC in Safari) is read all the same.

import { Trouble } from "./trouble.js";

export const LONGEST = 2048; // pixels of the longer side that is sent
const LARGEST = 10_000_000; // bytes that are sent as they are: what the service takes by default
const TAKEN = new Set(["image/png", "image/jpeg", "image/webp", "image/bmp", "image/gif"]); // by the service
const HEIC = /^(heic|heix|hevc|hevx|heim|heis|hevm|hevs|mif1|msf1)$/;

export class Picture {
  // image: what is drawn on the pad, upright; null where this browser cannot show it. Sides are in pixels.
  constructor(blob, image, width, height) {
    Object.assign(this, { blob, image, width, height });
  }

  static async of(file) {
    const image = await opened(file);
    if (image === null) {
      if (await isHeic(file)) throw heicTrouble();
      if (file.size > LARGEST) throw new Trouble("This browser cannot open that file as a picture.", { advice: OTHERS });
      return new Picture(file, null, 0, 0); // the service says what is wrong with it
    }
    const width = image.naturalWidth || LONGEST; // a drawing (SVG) may have no size of its own
    const height = image.naturalHeight || LONGEST;
    const scale = Math.min(1, LONGEST / Math.max(width, height));
    if (scale === 1 && TAKEN.has(file.type) && file.size <= LARGEST) return new Picture(file, image, width, height); // bit for bit
    const canvas = document.createElement("canvas");
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const context = canvas.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(image, 0, 0, canvas.width, canvas.height); // upright: browsers heed the EXIF orientation
    const opaque = file.type === "image/jpeg" || isOpaque(context, canvas);
    return new Picture(await encoded(canvas, opaque ? "image/jpeg" : "image/png"), canvas, canvas.width, canvas.height);
  }
}

const OTHERS = "Choose a PNG, JPEG, WebP, BMP or GIF.";

async function opened(file) {
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

async function isHeic(file) {
  const head = new TextDecoder("latin1").decode(await file.slice(4, 12).arrayBuffer());
  return head.startsWith("ftyp") && HEIC.test(head.slice(4));
}

function heicTrouble() {
  return new Trouble("This browser cannot open HEIC pictures.", {
    advice:
      "Open this page in Safari, or save the picture as JPEG. An iPhone takes JPEG with Settings, Camera, Formats, " +
      "Most Compatible.",
  });
}

function isOpaque(context, { width, height }) {
  const { data } = context.getImageData(0, 0, width, height);
  for (let index = 3; index < data.length; index += 4) if (data[index] < 255) return false;
  return true;
}

export function encoded(canvas, type) {
  return new Promise((resolve) => canvas.toBlob(resolve, type, 0.92));
}
