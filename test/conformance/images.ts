// Stand-ins for the images whose names critest has built in: disks of our own, in a registry on loopback that the node
// takes for the mirror of the real ones.

import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { raw } from "../fakes/disk-image.ts";
import { OCI_LAYER, OciRegistry } from "../fakes/oci-registry.ts";
import { tar } from "../fakes/tar-archive.ts";

/** Names begin with these and mean disks of VMs on the node under test. */
export const MIRRORED = ["registry.k8s.io", "k8s.gcr.io", "gcr.io"];

const CONFIG_TYPE = "application/vnd.oci.image.config.v1+json";
const CRI_TOOLS = "k8s-staging-cri-tools";
const E2E = "e2e-test-images";

/** Guests that critest runs programs in, or looks at from outside. */
export const GUEST_NAME = `${E2E}/busybox:1.29-2`;
const GUESTS = [GUEST_NAME, `${E2E}/nginx:1.14-2`, `${E2E}/httpd:2.4.39-4`];
/** Only pulled, listed and removed, or started without anything being asked of them; different bytes for each. */
const PLAIN = ["latest", "1", "2", "3"].map((name) => `${CRI_TOOLS}/test-image-${name}:latest`);
const TAGGED = ["test", "all"].map((tag) => `${CRI_TOOLS}/test-image-tag:${tag}`);
const SAME_BYTES = ["1", "2", "3"].map((tag) => `${CRI_TOOLS}/test-image-tags:${tag}`);
const USERS: Readonly<Record<string, string>> = {
  "test-image-user-uid": "1002",
  "test-image-user-username": "www-data",
  "test-image-user-uid-group": "1003:users",
  "test-image-user-username-group": "www-data:100",
};

/** @param guestPath The tiny guest's disk. */
export async function serveStandIns(guestPath: string): Promise<OciRegistry> {
  const registry = await OciRegistry.listen();
  const push = (name: string, disk: Uint8Array, user = ""): void => {
    const [repository = "", tag = ""] = name.split(":");
    const layer = { mediaType: OCI_LAYER, bytes: tar([{ path: "disk/disk.img", bytes: disk }]) };
    const config = registry.blob(Buffer.from(JSON.stringify({ config: user === "" ? {} : { User: user } })));
    registry.push(repository, [layer], { config: { mediaType: CONFIG_TYPE, ...config } }, tag);
  };
  const guest = await readFile(guestPath);
  for (const name of GUESTS) push(name, guest);
  for (const name of [...PLAIN, ...TAGGED]) push(name, raw(2048, name));
  for (const name of SAME_BYTES) push(name, raw(2048, "test-image-tags"));
  for (const [name, user] of Object.entries(USERS)) push(`${CRI_TOOLS}/${name}:latest`, raw(2048, name), user);
  push("pause:3.9", raw(2048, "pause"));
  return registry;
}

/** What makes a node take the registry for the mirror of the real ones. */
export async function writeMirrors(hostsFolderPath: string, registry: OciRegistry): Promise<void> {
  for (const host of MIRRORED) {
    await mkdir(join(hostsFolderPath, host), { recursive: true });
    await writeFile(join(hostsFolderPath, host, "hosts.toml"), `server = "${registry.url}"\n`);
  }
}
