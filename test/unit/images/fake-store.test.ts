import { imageStoreContract } from "../../contract/image-store.contract.ts";
import { FakeImageStore } from "../../fakes/image-store.ts";

imageStoreContract(async () => {
  const store = new FakeImageStore();
  return {
    store,
    publish: async (path, content) => {
      const name = `vmlet.dev/https/fake/${path}`;
      store.offer(name, { content });
      return name;
    },
    publishHeldBack: async (path, content) => {
      const name = `vmlet.dev/https/fake/${path}`;
      store.offer(name, { content });
      const { promise, resolve } = Promise.withResolvers<void>();
      store.gate = promise;
      return { name, letGo: () => resolve() };
    },
    absentName: "vmlet.dev/https/fake/absent.qcow2",
    hasBytes: async (digest) => store.hasBytes(digest),
    reopen: async () => store, // its memory is what the others have on disk
    [Symbol.asyncDispose]: async () => {},
  };
});
