// A policy holds for what is on the node already, too.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { raw } from "../../../fakes/disk-image.ts";
import { attachMessages, ImageSigner } from "../../../fakes/image-signer.ts";
import { openOciStore } from "../../../fakes/oci-store.ts";

const signal = AbortSignal.timeout(60_000);
const layers = [{ mediaType: "application/vnd.lfedge.disk.layer.v1+raw", bytes: raw() }];
const signer = new ImageSigner();
const successor = new ImageSigner();
let folder = "";
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-keys-"));
});
afterAll(async () => rm(folder, { recursive: true, force: true }));

const demanding = async (...signers: readonly ImageSigner[]) => {
  const keyPaths = await Promise.all(signers.map(async (own, at) => own.writeKey(folder, `${at}.pub`)));
  return { signatures: { rules: [{ prefix: "", keyPaths }] } };
};

test("what was pulled before there was a policy is not found until it is pulled again, which downloads nothing", async () => {
  await using fixture = await openOciStore();
  const { registry, under } = fixture;
  const digest = registry.push("vm", layers);
  const name = registry.nameOf("vm");
  const pulled = await under.store.pull(name, signal);
  const blobs = () => registry.paths().filter((path) => path.includes("/blobs/")).length;
  const blobsBefore = blobs();

  const store = await under.reopen(await demanding(signer));
  const spellings = [name, `${name}@${digest}`, pulled.digest, pulled.digest.slice(7, 27)];
  for (const spelling of spellings) expect(store.find(spelling)).toBeUndefined();
  expect(store.list()).toEqual([pulled]); // or the kubelet could not make room
  expect(under.log.lines.map(({ message }) => message)).toContainEqual(expect.stringContaining("wait to be pulled"));
  for (const pin of [name, `${name}@${digest}`]) {
    await expect(store.pull(pin, signal)).rejects.toMatchObject({ failure: { code: "IMAGE_UNTRUSTED" } });
    expect(store.find(pin)).toBeUndefined();
  }

  attachMessages(registry, "vm", digest, [signer.message(digest)]);
  await store.pull(name, signal);
  for (const spelling of spellings) expect(store.find(spelling)?.digest).toBe(pulled.digest);
  expect(blobs() - blobsBefore).toBe(1); // the signature
  expect((await under.reopen(await demanding(successor, signer))).find(name)?.digest).toBe(pulled.digest);
});

test("what a key signed that is trusted no longer is pulled again; a name that needs no signature stays", async () => {
  await using fixture = await openOciStore(await demanding(signer));
  const { registry, under } = fixture;
  const digest = registry.push("vm", layers);
  registry.push("free/vm", layers);
  attachMessages(registry, "vm", digest, [signer.message(digest)]);
  const [name, free] = [registry.nameOf("vm"), registry.nameOf("free/vm")];
  await under.store.pull(name, signal);

  const { signatures } = await demanding(successor);
  const accepted = { prefix: `${registry.host}/free/`, action: "accept" };
  const store = await under.reopen({ signatures: { rules: [accepted, ...signatures.rules] } });
  expect(store.find(name)).toBeUndefined();
  const { digest: id } = await store.pull(free, signal);
  expect(store.find(name)).toBeUndefined();
  expect(store.find(free)?.digest).toBe(id);
  expect(store.find(id)?.digest).toBe(id);
  await expect(store.pull(name, signal)).rejects.toThrow("not of a key that is trusted");

  attachMessages(registry, "vm", digest, [signer.message(digest), successor.message(digest)]);
  await store.pull(name, signal);
  expect(store.find(name)?.digest).toBe(id);
  await store.remove(id, signal);
  expect(store.list()).toEqual([]);
});

test("what is not found for want of a signature can be removed", async () => {
  await using fixture = await openOciStore();
  const { registry, under } = fixture;
  registry.push("vm", layers);
  const { digest } = await under.store.pull(registry.nameOf("vm"), signal);
  const store = await under.reopen({ signatures: { default: "reject" } });
  await store.remove(digest, signal);
  expect(store.list()).toEqual([]);
  expect(await under.hasBytes(digest)).toBe(false);
});
