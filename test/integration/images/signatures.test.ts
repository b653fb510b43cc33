// What a real cosign signed (recorded-signatures.json), in Debian's docker-registry, which keeps no lists of referrers.

import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { openDiskStore } from "../../fakes/disk-image-store.ts";
import { DockerRegistry } from "./docker-registry.ts";
import { type Pushed, pushImage, put } from "./signed-image.ts";

const signal = AbortSignal.timeout(120_000);
const recordedPath = join(import.meta.dirname, "recorded-signatures.json");
const {
  keys,
  repositories,
}: {
  readonly keys: Readonly<Record<string, string>>;
  readonly repositories: Readonly<Record<string, readonly Pushed[]>>;
} = JSON.parse(readFileSync(recordedPath, "utf8"));

let folder = "";
let registry: DockerRegistry;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-signed-"));
  for (const [kind, pem] of Object.entries(keys)) await writeFile(join(folder, `${kind}.pub`), pem);
  registry = await DockerRegistry.start({ isTls: false }, signal);
  await registry.writeHosts(join(folder, "certs.d"));
}, 60_000);
afterAll(async () => {
  await registry[Symbol.asyncDispose]();
  await rm(folder, { recursive: true, force: true });
});

const openStore = async (...kinds: readonly string[]) => {
  const rule = { prefix: `${registry.host}/`, keyPaths: kinds.map((kind) => join(folder, `${kind}.pub`)) };
  const hosts = { hostsFolderPath: join(folder, "certs.d"), authPath: join(folder, "auth") };
  return openDiskStore({ images: { registry: hosts, signatures: { rules: [rule] } } });
};

const signed = Object.entries(repositories).map(([repository, documents]) => {
  const [kind = "", format = "", what = ""] = repository.split("-");
  return { repository, documents, kind, format, what };
});

test.each(signed.filter(({ kind }) => kind !== "ed25519"))(
  "cosign's $format of the $what, by its $kind key, is taken; before it was there, and for another key, it is not",
  async ({ repository, documents, kind, what }) => {
    const name = `${registry.nameOf(repository)}:${what}`;
    await pushImage(registry.host, repository);
    await using right = await openStore("ed25519", kind);
    await expect(right.store.pull(name, signal)).rejects.toThrow("there is none in its registry");
    for (const document of documents) await put(registry.host, repository, document);
    expect(await right.store.pull(name, signal)).toMatchObject({ format: "raw", repoTags: [name] });
    await using wrong = await openStore(kind === "rsa" ? "ecdsa" : "rsa");
    await expect(wrong.store.pull(name, signal)).rejects.toThrow("not of a key that is trusted");
  },
);

test("an image whose index alone is signed is not taken by its manifest", async () => {
  await pushImage(registry.host, "by-manifest");
  for (const document of repositories["ecdsa-bundle-index"] ?? []) await put(registry.host, "by-manifest", document);
  await using under = await openStore("ecdsa");
  const pulling = under.store.pull(`${registry.nameOf("by-manifest")}:manifest`, signal);
  await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_UNTRUSTED" } });
});

test.each(signed.filter(({ kind }) => kind === "ed25519"))(
  "cosign's $format of the $what by an Ed25519 key is pre-hashed, and refused as cosign itself does",
  async ({ repository, documents, what }) => {
    await pushImage(registry.host, repository);
    for (const document of documents) await put(registry.host, repository, document);
    await using under = await openStore("ed25519");
    const pulling = under.store.pull(`${registry.nameOf(repository)}:${what}`, signal);
    await expect(pulling).rejects.toThrow("not of a key that is trusted");
  },
);
