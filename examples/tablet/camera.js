/** The camera of the device, shown in a video element. */

const REFUSED = "The camera was not allowed. Allow it for this page in the browser's settings, or choose a photo.";
const NO_CAMERA = "No camera was found. Choose a photo instead.";
const IN_USE = "The camera could not be started; perhaps another program is using it. Choose a photo instead.";
const PROBLEMS = { NotAllowedError: REFUSED, SecurityError: REFUSED, NotFoundError: NO_CAMERA };
/** Asked for, not demanded: the camera gives the nearest that it can. */
const WISHES = { facingMode: { ideal: "environment" }, width: { ideal: 1920 }, height: { ideal: 1080 } };

export class Camera {
  #video;
  #stream = null;

  constructor(video) {
    this.#video = video;
  }

  /** Browsers offer the camera to pages from https or localhost only. */
  static possible() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  get running() {
    return this.#stream !== null;
  }

  async open() {
    try {
      this.#stream = await navigator.mediaDevices.getUserMedia({ video: WISHES, audio: false });
    } catch (error) {
      throw new Error(PROBLEMS[error.name] ?? IN_USE, { cause: error });
    }
    this.#video.srcObject = this.#stream;
    await this.#video.play();
  }

  /** The present picture. */
  picture() {
    return createImageBitmap(this.#video);
  }

  close() {
    for (const track of this.#stream?.getTracks() ?? []) track.stop();
    this.#stream = null;
    this.#video.srcObject = null;
  }
}
