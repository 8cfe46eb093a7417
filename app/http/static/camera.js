// The live camera, in a dialog. Browsers offer a camera only on secure pages: over https, or on localhost.

import { encode } from "./picture.js";

const element = (id) => document.getElementById(id);

export class Camera {
  #onPicture; // (blob)
  #stream = null;

  static get isAvailable() {
    return isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);
  }

  constructor(onPicture) {
    this.#onPicture = onPicture;
    element("shutter").addEventListener("click", () => this.#takePicture());
    element("camera-close").addEventListener("click", () => element("camera").close());
    element("camera").addEventListener("close", () => this.#stop()); // by the button or by Escape
  }

  async open() {
    element("camera-words").textContent = "";
    element("shutter").disabled = true;
    element("camera").showModal();
    try {
      const video = { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } };
      this.#stream = await navigator.mediaDevices.getUserMedia({ video });
    } catch (error) {
      element("camera-words").textContent = describeError(error);
      return;
    }
    if (!element("camera").open) {
      this.#stop(); // the user closed the dialog while the browser asked for permission
      return;
    }
    element("video").srcObject = this.#stream;
    await element("video").play();
    element("shutter").disabled = false;
    element("shutter").focus();
  }

  async #takePicture() {
    const video = element("video");
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await encode(canvas, "image/jpeg");
    element("camera").close();
    this.#onPicture(blob);
  }

  #stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    element("video").srcObject = null;
  }
}

function describeError(error) {
  if (error.name === "NotAllowedError")
    return "This page may not use the camera. Allow it in the browser's settings, or choose a picture.";
  if (error.name === "NotFoundError") return "No camera was found. Choose a picture instead.";
  return "The camera cannot be used. Another program may be using it. Choose a picture instead.";
}
