// A copy of this checkout that says it is another version: what an upgrade comes from.

import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { REPO_PATH } from "./layout.ts";

const NAMES = ["bin", "src", "docs", "domain-templates", "packaging", "tools", "package-lock.json", "README.md"];

/** Into a folder that is not there yet; node_modules is this checkout's. Whoever asked removes it. */
export async function copyCheckout(path: string, version: string): Promise<void> {
  await mkdir(path);
  for (const name of NAMES) await cp(join(REPO_PATH, name), join(path, name), { recursive: true });
  await symlink(join(REPO_PATH, "node_modules"), join(path, "node_modules"));
  const text = await readFile(join(REPO_PATH, "package.json"), "utf8");
  await writeFile(join(path, "package.json"), text.replace(/"version": "[^"]+"/, `"version": "${version}"`));
}
