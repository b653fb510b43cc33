// Joins a folder with a name that came from outside, without ever leaving the folder.

import { isAbsolute, relative, resolve } from "node:path";

/**
 * `root`/`relativePath`, normalised. Undefined when the result would lie outside `root`,
 * when it would be `root` itself, or when the name carries a NUL. Symlinks are not looked at.
 */
export function joinInside(root: string, relativePath: string): string | undefined {
  if (relativePath.includes("\0") || isAbsolute(relativePath)) return undefined;
  const path = resolve(root, relativePath);
  const back = relative(root, path);
  if (back === "" || back === ".." || back.startsWith("../")) return undefined;
  return path;
}
