// No image that an enemy made comes as far as a QEMU tool, or leaves a byte behind, whichever way it comes.

import { zstdCompressSync } from "node:zlib";
import { expect, test } from "vitest";
import type { Run } from "../../../src/lib/spawn.ts";
import type { ImageStore } from "../../../src/ports/image-store.ts";
import { openDiskStore } from "../../fakes/disk-image-store.ts";
import { maliciousImages } from "../../fakes/malicious-images.ts";
import { type Layer, OCI_LAYER } from "../../fakes/oci-registry.ts";
import { openOciStore } from "../../fakes/oci-store.ts";
import { tar } from "../../fakes/tar-archive.ts";

const signal = AbortSignal.timeout(120_000);
const images = maliciousImages("/canary/file");

function toolsNoted(): { readonly ran: string[]; readonly run: Run } {
  const ran: string[] = [];
  return {
    ran,
    run: async (file, args) => {
      ran.push([file, ...args].join(" "));
      throw new Error("no tool may run");
    },
  };
}

/** What became of an image, if it was not refused. */
async function outcomeOf(store: ImageStore, name: string): Promise<string | undefined> {
  const outcome = await store.pull(name, signal).then(
    () => "accepted",
    (error: unknown) => codeOf(error),
  );
  return outcome === "IMAGE_REFUSED" ? undefined : outcome;
}

test("from a web server every malicious image is refused before any tool runs, and nothing of it stays", async () => {
  expect(images.length).toBeGreaterThanOrEqual(40);
  const { ran, run } = toolsNoted();
  await using under = await openDiskStore({ run });
  const before = await under.files();
  const outcomes: Record<string, string> = {};
  for (const [index, { what, bytes }] of images.entries()) {
    under.server.serve(`/${index}`, bytes);
    const outcome = await outcomeOf(under.store, under.server.nameOf(`/${index}`));
    if (outcome !== undefined) outcomes[what] = outcome;
  }
  expect(outcomes).toEqual({});
  expect(ran).toEqual([]);
  expect(await under.files()).toEqual(before);
});

const ways: readonly ((bytes: Buffer) => Layer)[] = [
  (bytes) => ({ mediaType: OCI_LAYER, bytes: tar([{ path: "disk/d.img", bytes }]) }),
  (bytes) => ({ mediaType: "application/octet-stream", bytes }),
  (bytes) => ({ mediaType: "application/vnd.kubevirt.disk.raw+zstd", bytes: zstdCompressSync(bytes) }),
  (bytes) => ({ mediaType: "application/vnd.lfedge.disk.layer.v1+raw", bytes }),
];

test("in a registry, too: as a containerDisk, as an artifact, and where it is declared raw", async () => {
  const { ran, run } = toolsNoted();
  await using fixture = await openOciStore({}, run);
  const { registry, under } = fixture;
  const before = await under.files();
  const outcomes: Record<string, string> = {};
  for (const [index, { what, bytes }] of images.entries()) {
    const layers = ways.slice(index % ways.length, (index % ways.length) + 1).map((wayOf) => wayOf(bytes));
    registry.push(`vm${index}`, layers);
    const outcome = await outcomeOf(under.store, registry.nameOf(`vm${index}`));
    if (outcome !== undefined) outcomes[what] = outcome;
  }
  expect(outcomes).toEqual({});
  expect(ran).toEqual([]);
  expect(await under.files()).toEqual(before);
});

function codeOf(error: unknown): string {
  const failure = error instanceof Error && "failure" in error ? error.failure : undefined;
  const isCoded = typeof failure === "object" && failure !== null && "code" in failure;
  return isCoded ? String(failure.code) : String(error);
}
