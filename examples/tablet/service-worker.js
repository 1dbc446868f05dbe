/**
 * Keeps the page, the runtime and the classifier on the device, so that all of it works without a network.
 *
 * files.js is written with the bundle: the names of all files, and a version that changes with any byte of them. Browsers
 * that find another version fetch everything anew.
 */

importScripts("files.js");

const PREFIX = "fairquant-tablet-";
const CACHE = PREFIX + self.FILES.version;

self.addEventListener("install", (event) => {
  event.waitUntil(keepAll().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(forgetOlder().then(() => self.clients.claim()));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(self.registration.scope)) {
    event.respondWith(answer(request));
  }
});

async function keepAll() {
  const cache = await caches.open(CACHE);
  await cache.addAll(self.FILES.names.map((name) => new Request(name, { cache: "no-cache" })));
}

async function forgetOlder() {
  const names = await caches.keys();
  const older = names.filter((name) => name.startsWith(PREFIX) && name !== CACHE);
  await Promise.all(older.map((name) => caches.delete(name)));
}

async function answer(request) {
  const cache = await caches.open(CACHE);
  const wanted = request.url.split("?")[0] === self.registration.scope ? "index.html" : request;
  return (await cache.match(wanted, { ignoreSearch: true })) ?? fetch(request);
}
