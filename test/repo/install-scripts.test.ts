import { readFileSync } from "node:fs";
import { expect, test } from "vitest";

const json = (path: string) => JSON.parse(readFileSync(path, "utf8"));

test("every package that has an install script may run it: npm 12 runs no other's, and `node` brings Node by its own", () => {
  const packages: Readonly<Record<string, { readonly hasInstallScript?: boolean }>> =
    json("package-lock.json").packages;
  const having = Object.entries(packages).filter(([, { hasInstallScript }]) => hasInstallScript === true);
  const names = having.map(([path]) => path.replace(/^.*node_modules\//, ""));
  expect(Object.keys(json("package.json").allowScripts)).toEqual([...new Set(names)].toSorted());
  expect(names).toContain("node");
});
