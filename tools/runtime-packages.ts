// Prints the files of node_modules that vmlet runs with, a path a line: what the lock file has that is not for development
// alone, as far as it is installed here.

import { existsSync, globSync, lstatSync, readFileSync, realpathSync } from "node:fs";

interface Locked {
  readonly dev?: boolean;
  readonly devOptional?: boolean;
}

const { packages } = JSON.parse(readFileSync("package-lock.json", "utf8")) as { packages: Record<string, Locked> };
const own = Object.entries(packages)
  .filter(([path, { dev, devOptional }]) => path !== "" && dev !== true && devOptional !== true && existsSync(path))
  .map(([path]) => path);

/** What no program reads. */
const IDLE = /\.(map|md|markdown|d\.[cm]?ts)$|\/(test|tests|docs|example|examples|coverage)\//;

for (const folder of own) {
  // A package below another's is a line of its own.
  const files = globSync(`${folder}/**`, { exclude: (path) => path.endsWith("/node_modules") });
  for (const path of files) {
    const name = path.slice(folder.length);
    if (lstatSync(path).isDirectory() || IDLE.test(name)) continue;
    process.stdout.write(`${path}\n`);
  }
}
if (own.length === 0) throw new Error(`${realpathSync("node_modules")} has none of them`);
