import { expect, test } from "vitest";
import { imageStoreContract } from "../../contract/image-store.contract.ts";
import { qcow2 } from "../../fakes/disk-image.ts";
import { agreeingQemuImg, openDiskStore } from "../../fakes/disk-image-store.ts";

const signal = AbortSignal.timeout(60_000);
const MIB = 1024 * 1024;
const open = async (images: Readonly<Record<string, unknown>> = {}) =>
  openDiskStore({ images, run: agreeingQemuImg(64 * MIB) });

imageStoreContract(async () => {
  const fixture = await open();
  return {
    get store() {
      return fixture.store;
    },
    publish: async (path, content) => {
      fixture.server.serve(`/${path}`, qcow2({ content }));
      return fixture.server.nameOf(`/${path}`);
    },
    absentName: fixture.server.nameOf("/absent.qcow2"),
    hasBytes: async (digest) => fixture.hasBytes(digest),
    reopen: async () => fixture.reopen(),
    [Symbol.asyncDispose]: async () => fixture[Symbol.asyncDispose](),
  };
});

test("nothing at the URL leaves nothing behind", async () => {
  await using under = await open();
  const before = await under.files();
  await expect(under.store.pull(under.server.nameOf("/none.qcow2"), signal)).rejects.toThrow(
    `${under.server.urlOf("/none.qcow2")} answers 404`,
  );
  expect(await under.files()).toEqual(before);
});
