// What the metric of received bytes says of an image in a registry, however it is packed.

import { gzipSync } from "node:zlib";
import { expect, test } from "vitest";
import { qcow2 } from "../../../fakes/disk-image.ts";
import { OCI_LAYER } from "../../../fakes/oci-registry.ts";
import { openOciStore } from "../../../fakes/oci-store.ts";
import { tar } from "../../../fakes/tar-archive.ts";

const signal = AbortSignal.timeout(60_000);
const disk = qcow2({ virtualSizeBytes: 1n << 20n });
const archive = tar([{ path: "disk/d.qcow2", bytes: disk }]);

test.each([
  ["a packed layer", gzipSync(archive), `${OCI_LAYER}+gzip`],
  ["a plain layer", archive, OCI_LAYER],
  ["a packed disk", gzipSync(disk), "application/vnd.example.disk"],
  ["a plain disk", disk, "application/vnd.example.disk"],
])("of %s the bytes are counted that came over the network", async (_what, bytes, mediaType) => {
  await using fixture = await openOciStore();
  fixture.registry.push("vm", [{ mediaType, bytes }]);
  await fixture.under.store.pull(fixture.registry.nameOf("vm"), signal);
  expect(fixture.under.receivedBytes).toBe(bytes.length);
});
