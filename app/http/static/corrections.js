// Digits that the user says were read wrongly. They stay in this browser, until the user downloads or deletes them.

import { save } from "./picture.js";
import { zip } from "./zip.js";

const STORE = "corrections";
const EXTENSIONS = { "image/jpeg": "jpg", "image/webp": "webp", "image/bmp": "bmp", "image/gif": "gif" };

const element = (id) => document.getElementById(id);

export class Corrections {
  #database = null;
  #current = null; // {blob, digit}: the picture that was read last, and as what

  constructor() {
    for (const button of element("right-digits").children) {
      button.addEventListener("click", () => this.#add(Number(button.textContent)));
    }
    element("save-corrections").addEventListener("click", () => this.#download());
    element("delete-corrections").addEventListener("click", () => this.#deleteAll());
    this.#showCount();
  }

  // Asks whether the reading of a picture was right. Without a picture, asks nothing.
  ask(blob = null, digit = null) {
    this.#current = blob && { blob, digit };
    element("check").hidden = !blob;
    element("corrected").textContent = "";
    for (const button of element("right-digits").children) button.disabled = Number(button.textContent) === digit;
  }

  async #add(digit) {
    const { blob } = this.#current;
    // Bytes, not the blob: a file that the user moves or deletes later would be lost.
    const bytes = await blob.arrayBuffer();
    try {
      const store = await this.#open("readwrite");
      await complete(store.add({ digit, bytes, type: blob.type }));
    } catch {
      element("corrected").textContent = "This browser does not let the page keep it.";
      return;
    }
    element("corrected").textContent = `Kept as ${digit === 8 ? "an 8" : `a ${digit}`}.`;
    this.#showCount();
  }

  async #showCount() {
    const count = await this.#open("readonly").then((store) => complete(store.count()), () => 0);
    element("corrections").hidden = count === 0;
    element("corrections-count").textContent = count === 1 ? "1 correction" : `${count} corrections`;
  }

  // Saves an archive with a folder for each digit: what `python -m training finetune` reads.
  async #download() {
    const store = await this.#open("readonly");
    const all = await complete(store.getAll());
    const files = all.map(({ digit, bytes, type }, index) => ({
      name: `${digit}/${String(index + 1).padStart(4, "0")}.${EXTENSIONS[type] ?? "png"}`,
      data: new Uint8Array(bytes),
    }));
    save(zip(files), "my-digits.zip");
  }

  async #deleteAll() {
    const store = await this.#open("readwrite");
    await complete(store.clear());
    element("corrected").textContent = "";
    this.#showCount();
  }

  async #open(mode) {
    if (!this.#database) {
      const request = indexedDB.open("digitserve", 1);
      request.onupgradeneeded = () => request.result.createObjectStore(STORE, { autoIncrement: true });
      this.#database = await complete(request);
    }
    return this.#database.transaction(STORE, mode).objectStore(STORE);
  }
}

function complete(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}
