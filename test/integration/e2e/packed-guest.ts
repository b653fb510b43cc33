// A test guest packed with xz, as distributions publish theirs: made once a machine, and kept beside the guest.

import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { access, realpath, rename, rm, symlink } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { output } from "../../node/command.ts";
import type { TestNode } from "../../node/test-node.ts";

export interface PackedGuest {
  /** Served by the node's own web server. */
  readonly image: string;
  /** Of what is in it. */
  readonly digest: string;
}

/** @param fileName In the folder that the node serves: `debian.qcow2`. */
export async function packedGuest(node: TestNode, fileName: string, signal: AbortSignal): Promise<PackedGuest> {
  const guestPath = await realpath(join(node.layout.imageFolderPath, fileName));
  const packedPath = `${guestPath}.xz`;
  if (!(await isThere(packedPath))) await pack(guestPath, packedPath, signal);
  await symlink(packedPath, join(node.layout.imageFolderPath, `${fileName}.xz`));
  const hash = createHash("sha256");
  await pipeline(createReadStream(guestPath), hash, { signal });
  return { image: node.images.nameOf(`${fileName}.xz`), digest: `sha256:${hash.digest("hex")}` };
}

/** The guest is packed already, inside: hardly any of xz's work would be worth its time. */
const QUICKLY = ["--threads=2", "--block-size=16MiB", "--lzma2=preset=0,dict=4KiB,mf=hc3,mode=fast,nice=3,depth=1"];

async function pack(fromPath: string, toPath: string, signal: AbortSignal): Promise<void> {
  const newPath = `${toPath}.${process.pid}.new`;
  try {
    const script = 'exec xz --stdout "${@:3}" "$1" >"$2"';
    await output(["/bin/bash", "-c", script, "pack", fromPath, newPath, ...QUICKLY], signal);
    await rename(newPath, toPath);
  } finally {
    await rm(newPath, { force: true });
  }
}

const isThere = async (path: string): Promise<boolean> =>
  access(path).then(
    () => true,
    () => false,
  );
