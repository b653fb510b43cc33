// Room for images and disks.

import { basename } from "node:path";
import prettyBytes from "pretty-bytes";
import type { Config } from "../config/schema.ts";
import { error, type Finding, ok, warning } from "./finding.ts";
import type { Node } from "./node.ts";

const GIB = 2 ** 30;
/** One image of a distribution and the overlay of a machine or two. */
const SMALL_BYTES = 10 * GIB;
const TINY_BYTES = GIB;

export async function checkSpace(node: Node, { stateFolderPath }: Pick<Config, "stateFolderPath">): Promise<Finding[]> {
  const { freeBytes, totalBytes } = await node.space(stateFolderPath);
  const text = (bytes: number): string => prettyBytes(bytes, { binary: true });
  const what = `${text(freeBytes)} of ${text(totalBytes)} free for ${stateFolderPath}`;
  const remedy = `give ${basename(stateFolderPath)} a file system of its own, or set stateFolderPath`;
  if (freeBytes < TINY_BYTES) return [error("disk", what, remedy)];
  return [freeBytes < SMALL_BYTES ? warning("disk", what, remedy) : ok("disk", what)];
}
