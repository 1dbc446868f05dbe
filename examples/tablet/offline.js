/** Keeping the page on the device. */

const READY = "Works without a network";
const ONLY_HTTPS = "Needs the network: offline use takes https or localhost";
const NOT_KEPT = "Needs the network: this browser did not keep the files";
const NEWER = "A newer version is ready: reload the page";

function say(place, words, state) {
  place.textContent = words;
  place.dataset.state = state;
}

/** Let the service worker keep every file; `place` says how far that is. */
export async function keepForOffline(place) {
  if (!navigator.serviceWorker) {
    say(place, ONLY_HTTPS, "online");
    return;
  }
  const before = navigator.serviceWorker.controller;
  try {
    await navigator.serviceWorker.register("service-worker.js");
    await navigator.serviceWorker.ready;
  } catch (error) {
    console.error(error);
    say(place, NOT_KEPT, "online");
    return;
  }
  // Ask that the files are not thrown away when the device runs short of space.
  navigator.storage?.persist?.();
  say(place, READY, "ready");
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (before) say(place, NEWER, "newer");
  });
}
