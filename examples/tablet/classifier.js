/** The classifier as the page sees it: open once, then classify files and camera pictures one after the other. */

const NO_WORKER = "This browser is too old for this page, or a file of the folder is missing. Update the browser, or copy the whole folder again.";
const NO_WEBASSEMBLY =
  "This browser cannot compute the answer: WebAssembly is missing or switched off (the Lockdown Mode of tablets does that). " +
  "Allow it for this page, or use another browser.";

export class Classifier {
  #worker = new Worker(new URL("./worker.js", import.meta.url), { type: "module" });
  #waiting = new Map();
  #asked = 0;

  /** `onStage` is called with words while the classifier opens. */
  constructor(onStage = () => {}) {
    this.#worker.onmessage = ({ data }) => {
      if (data.stage) {
        onStage(data.stage);
        return;
      }
      const { resolve, reject } = this.#waiting.get(data.id);
      this.#waiting.delete(data.id);
      if (data.problem) reject(new Error(data.problem));
      else resolve(data.result);
    };
    this.#worker.onerror = () => {
      for (const { reject } of this.#waiting.values()) reject(new Error(NO_WORKER));
      this.#waiting.clear();
    };
  }

  /** What model.json says, and how long opening took; rejects when this browser computes other numbers. */
  async open() {
    if (typeof WebAssembly === "undefined") throw new Error(NO_WEBASSEMBLY);
    return this.#ask({ kind: "open" });
  }

  /** Logits, probabilities, the square that the classifier saw, and the time it took. */
  async classifyFile(blob) {
    const file = new Uint8Array(await blob.arrayBuffer());
    return this.#ask({ kind: "classify", file }, [file.buffer]);
  }

  classifyBitmap(bitmap) {
    return this.#ask({ kind: "classify", bitmap }, [bitmap]);
  }

  #ask(question, transfer = []) {
    this.#asked += 1;
    const id = this.#asked;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ ...question, id }, transfer);
    });
  }
}
