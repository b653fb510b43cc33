// As many downloads at a time as the configuration allows; the others wait, visibly, and may be given up.

import { expect, test } from "vitest";
import { qcow2 } from "../../fakes/disk-image.ts";
import { agreeingQemuImg, type DiskStoreFixture, openDiskStore } from "../../fakes/disk-image-store.ts";
import { poll } from "../../node/poll.ts";

const signal = AbortSignal.timeout(60_000);
const open = async (maxParallelDownloads: number) =>
  openDiskStore({ images: { maxParallelDownloads }, run: agreeingQemuImg(64 * 1024 * 1024) });

const phasesOf = (under: DiskStoreFixture) =>
  Object.fromEntries(under.store.pulls().map(({ image, phase }) => [image.replace(/^.*\//, ""), phase]));

async function until(under: DiskStoreFixture, phases: Readonly<Record<string, string>>): Promise<void> {
  const isSo = () => {
    expect(phasesOf(under)).toEqual(phases);
    return true;
  };
  await poll(isSo, { what: JSON.stringify(phases), limitMs: 10_000, everyMs: 10 }, signal);
}

test("one download more than may be waits, is seen to wait, and begins when one has ended", async () => {
  await using under = await open(2);
  const names = ["/a", "/b", "/c"].map((path) => under.server.nameOf(path));
  const [a, b] = ["/a", "/b"].map((path) => under.server.serveHeldBack(path, qcow2({ content: path })));
  under.server.serve("/c", qcow2({ content: "/c" }));
  const [first, second] = names.slice(0, 2).map(async (name) => under.store.pull(name, signal));
  await until(under, { "a:latest": "receiving", "b:latest": "receiving" });
  const third = under.store.pull(names[2] ?? "", signal);
  await until(under, { "a:latest": "receiving", "b:latest": "receiving", "c:latest": "waiting" });
  expect(under.server.requests.toSorted()).toEqual(["/a", "/b"]); // two connections: either may be the first
  b?.letGo();
  await Promise.all([second, third]);
  expect(phasesOf(under)).toEqual({ "a:latest": "receiving" });
  a?.letGo();
  await first;
  expect(under.store.list()).toHaveLength(3);
});

test("whoever gives up while waiting is gone from the queue, and nothing was asked for", async () => {
  await using under = await open(1);
  const held = under.server.serveHeldBack("/a", qcow2({ content: "/a" }));
  for (const path of ["/b", "/c"]) under.server.serve(path, qcow2({ content: path }));
  const first = under.store.pull(under.server.nameOf("/a"), signal);
  await until(under, { "a:latest": "receiving" });
  const leaving = new AbortController();
  const second = under.store.pull(under.server.nameOf("/b"), leaving.signal);
  const third = under.store.pull(under.server.nameOf("/c"), signal);
  await until(under, { "a:latest": "receiving", "b:latest": "waiting", "c:latest": "waiting" });
  leaving.abort(new Error("no longer wanted"));
  await expect(second).rejects.toThrow("no longer wanted");
  expect(phasesOf(under)).toEqual({ "a:latest": "receiving", "c:latest": "waiting" });
  held.letGo();
  await Promise.all([first, third]);
  expect(under.server.requests).toEqual(["/a", "/c"]);
});

test("a download that fails gives its turn away", async () => {
  await using under = await open(1);
  under.server.serve("/good", qcow2());
  const [bad, good] = [under.server.nameOf("/absent"), under.server.nameOf("/good")];
  const [failed, pulled] = await Promise.allSettled([under.store.pull(bad, signal), under.store.pull(good, signal)]);
  expect([failed.status, pulled.status]).toEqual(["rejected", "fulfilled"]);
});

test("an image that is here is not kept waiting by the downloads of others", async () => {
  await using under = await open(1);
  const bytes = qcow2();
  under.server.on("/here", (request, response) => {
    const isSame = request.headers["if-none-match"] === '"v1"';
    response.writeHead(isSame ? 304 : 200, { etag: '"v1"', "content-length": isSame ? 0 : bytes.length });
    response.end(isSame ? undefined : bytes);
  });
  const here = under.server.nameOf("/here");
  const image = await under.store.pull(here, signal);
  const held = under.server.serveHeldBack("/large", qcow2({ content: "large" }));
  const large = under.store.pull(under.server.nameOf("/large"), signal);
  await until(under, { "large:latest": "receiving" });
  expect(await under.store.pull(here, signal)).toEqual(image);
  expect(await under.store.pull(`${here}@${image.digest}`, signal)).toMatchObject({ digest: image.digest });
  held.letGo();
  await large;
});
