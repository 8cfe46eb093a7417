// The live camera, in a dialog. Browsers have it where they call the page secure: over https, or on this very machine.

import { encoded } from "./picture.js";

const element = (id) => document.getElementById(id);

export class Camera {
  #taken; // (file): what to do with the picture
  #stream = null;

  static get isThere() {
    return isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);
  }

  constructor(taken) {
    this.#taken = taken;
    element("shutter").addEventListener("click", () => this.#take());
    element("camera-close").addEventListener("click", () => element("camera").close());
    element("camera").addEventListener("close", () => this.#stop()); // by the button or by Escape
  }

  async open() {
    element("camera-words").textContent = "";
    element("shutter").disabled = true;
    element("camera").showModal();
    try {
      const wish = { facingMode: "environment", width: { ideal: 1920 }, height: { ideal: 1080 } };
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: wish });
    } catch (error) {
      element("camera-words").textContent = words(error);
      return;
    }
    if (!element("camera").open) {
      this.#stop(); // it was closed while the browser asked
      return;
    }
    element("video").srcObject = this.#stream;
    await element("video").play();
    element("shutter").disabled = false;
    element("shutter").focus();
  }

  async #take() {
    const video = element("video");
    const canvas = document.createElement("canvas");
    canvas.width = video.videoWidth;
    canvas.height = video.videoHeight;
    canvas.getContext("2d").drawImage(video, 0, 0);
    const blob = await encoded(canvas, "image/jpeg");
    element("camera").close();
    this.#taken(blob);
  }

  #stop() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    element("video").srcObject = null;
  }
}

function words(error) {
  if (error.name === "NotAllowedError") return "The camera is not allowed. Allow it for this page in the browser's settings, or choose a picture.";
  if (error.name === "NotFoundError") return "There is no camera here. Choose a picture instead.";
  return "The camera cannot be used: another program may have it. Choose a picture instead.";
}
