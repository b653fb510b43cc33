import { mkdtemp, readdir, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test, vi } from "vitest";
import { Container, ListContainersResponse } from "../../../src/gen/runtime.ts";
import { SavedMirror } from "../../../src/router/mirror-file.ts";
import { keptLog } from "../../fakes/kept-log.ts";
import { poll } from "../../node/poll.ts";

const container = (id: string, labels: Record<string, string>) => Container.fromPartial({ id, labels });
const list = (...containers: Container[]): Uint8Array => ListContainersResponse.encode({ containers }).finish();

interface Folder extends AsyncDisposable {
  readonly path: string;
}

async function openFolder(): Promise<Folder> {
  const path = await mkdtemp(join(tmpdir(), "vmlet-mirror-"));
  return { path, [Symbol.asyncDispose]: async () => await rm(path, { recursive: true, force: true }) };
}

test("what a list says in another order is not written again; what it says anew is", async () => {
  await using folder = await openFolder();
  const path = join(folder.path, "c.mirror");
  const saved = await SavedMirror.open(path, keptLog());
  const fileAfter = async (...containers: Container[]): Promise<bigint> => {
    saved.mirror.learn("Container", list(...containers), { isWhole: true });
    await saved.settled();
    return (await stat(path, { bigint: true })).ino; // each write is a new file
  };
  const first = await fileAfter(container("a", { x: "1", y: "2" }), container("b", {}));
  expect(await fileAfter(container("b", {}), container("a", { y: "2", x: "1" }))).toBe(first);
  const second = await fileAfter(container("a", { x: "1" }), container("b", { y: "2" })); // a label that moved
  expect(second).not.toBe(first);
  expect(await fileAfter(container("a", { x: "1" }))).not.toBe(second);
  const again = await SavedMirror.open(path, keptLog());
  expect(Buffer.concat(again.mirror.memory().items.Container)).toEqual(
    Buffer.concat(saved.mirror.memory().items.Container),
  );
  expect([again.mirror.hasHeard("Container"), again.mirror.hasHeard("Image")]).toEqual([true, false]);
});

test.each([
  ["that ends within a field", "0aff"],
  ["with an item that is none", "12020aff"],
])("a file %s is begun anew", async (_what, hex) => {
  await using folder = await openFolder();
  const [path, log] = [join(folder.path, "c.mirror"), keptLog()];
  await writeFile(path, Buffer.from(hex, "hex"));
  const { mirror } = await SavedMirror.open(path, log);
  expect(mirror.memory()).toEqual({ items: { PodSandbox: [], Container: [], Image: [] }, heard: [] });
  expect(log.lines).toMatchObject([{ level: "error", message: "what the runtimes had cannot be read" }]);
});

test("what could not be written is written once it can be, though nothing changes any more", async () => {
  await using folder = await openFolder();
  const [path, log] = [join(folder.path, "state/c.mirror"), keptLog()];
  await writeFile(join(folder.path, "state"), "no folder"); // as much use as a full disk
  const saved = await SavedMirror.open(path, log);
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  try {
    saved.mirror.learn("Container", list(container("a", {})), { isWhole: true });
    await vi.advanceTimersByTimeAsync(2_000);
    await saved.settled();
    expect(log.lines).toContainEqual(expect.objectContaining({ message: "what the runtimes have cannot be saved" }));
    await rm(join(folder.path, "state"));
    await vi.advanceTimersByTimeAsync(60_000);
  } finally {
    vi.useRealTimers();
  }
  const isThere = async (): Promise<true | undefined> =>
    await stat(path).then(
      () => true as const,
      () => undefined,
    );
  await poll(isThere, { what: "the file", limitMs: 5_000, everyMs: 10 }, AbortSignal.timeout(10_000));
  const again = await SavedMirror.open(path, keptLog());
  expect(again.mirror.find("Container", "a")).toBe("a");
});

test("what a write that was cut off has left goes at the next start", async () => {
  await using folder = await openFolder();
  for (const name of ["c.mirror.0123456789ab.tmp", "m.mirror.0123456789ab.tmp"])
    await writeFile(join(folder.path, name), "half");
  await SavedMirror.open(join(folder.path, "c.mirror"), keptLog());
  expect(await readdir(folder.path)).toEqual(["m.mirror.0123456789ab.tmp"]);
});

test("a list that cannot be read teaches nothing and harms nothing", async () => {
  await using folder = await openFolder();
  const { mirror } = await SavedMirror.open(join(folder.path, "c.mirror"), keptLog());
  mirror.learn("Container", list(container("a", {})), { isWhole: true });
  expect(mirror.find("Container", "a")).toBe("a");
  mirror.learn("Container", Buffer.from("0aff", "hex"), { isWhole: true });
  expect(mirror.find("Container", "a")).toBe("a");
});
