import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Container, ListContainersResponse } from "../../../src/gen/runtime.ts";
import { SavedMirror } from "../../../src/router/mirror-file.ts";
import { keptLog } from "../../fakes/kept-log.ts";

const container = (id: string, labels: Record<string, string>) => Container.fromPartial({ id, labels });
const list = (...containers: Container[]): Uint8Array => ListContainersResponse.encode({ containers }).finish();

test("what a list says in another order is not written again; what it says anew is", async () => {
  await using folder = {
    path: await mkdtemp(join(tmpdir(), "vmlet-mirror-")),
    [Symbol.asyncDispose]: async () => await rm(folder.path, { recursive: true }),
  };
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

test("a list that cannot be read teaches nothing and harms nothing", async () => {
  await using folder = {
    path: await mkdtemp(join(tmpdir(), "vmlet-mirror-")),
    [Symbol.asyncDispose]: async () => await rm(folder.path, { recursive: true }),
  };
  const { mirror } = await SavedMirror.open(join(folder.path, "c.mirror"), keptLog());
  mirror.learn("Container", list(container("a", {})), { isWhole: true });
  expect(mirror.find("Container", "a")).toBe("a");
  mirror.learn("Container", Buffer.from("0aff", "hex"), { isWhole: true });
  expect(mirror.find("Container", "a")).toBe("a");
});
