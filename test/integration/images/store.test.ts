// The image store with the real qemu-img behind it.

import { imageStoreContract } from "../../contract/image-store.contract.ts";
import { qcow2 } from "../../fakes/disk-image.ts";
import { openDiskStore } from "../../fakes/disk-image-store.ts";

imageStoreContract(async () => {
  const fixture = await openDiskStore();
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
