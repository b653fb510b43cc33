import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";

const pages = globSync(["*.md", "docs/**/*.md", "proto/*.md"]);

test("there are pages to check", () => expect(pages.length).toBeGreaterThan(10));

test.each(pages)("%s links only to what exists", (page) => {
  const links = [...readFileSync(page, "utf8").matchAll(/\]\(([^)#]+)(?:#[^)]*)?\)/g)].map((match) => match[1] ?? "");
  const dead = links.filter((link) => !/^https?:/.test(link) && !existsSync(join(dirname(page), link)));
  expect(dead).toEqual([]);
});

test("every promise in SPECIFICATION.md names a test that exists", () => {
  const rows = [...readFileSync("SPECIFICATION.md", "utf8").matchAll(/\| `(test\/[^`]+)`: (.+) \|$/gm)];
  expect(rows.length).toBeGreaterThan(0);
  for (const [, file = "", name = ""] of rows) expect(readFileSync(file, "utf8"), file).toContain(`"${name}"`);
});

test("docs/dependencies.md has every package of package.json, and no other", () => {
  const { dependencies, devDependencies } = JSON.parse(readFileSync("package.json", "utf8"));
  const rows = [...readFileSync("docs/dependencies.md", "utf8").matchAll(/^\| (`.+?) \|/gm)];
  const named = rows.flatMap(([, cell = ""]) => [...cell.matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? ""));
  expect(named.toSorted()).toEqual(Object.keys({ ...dependencies, ...devDependencies }).toSorted());
});

test("docs/decisions/README.md lists every decision", () => {
  const listed = [...readFileSync("docs/decisions/README.md", "utf8").matchAll(/\((\d{4}-[^)]+)\)/g)].map((m) => m[1]);
  const there = globSync("docs/decisions/0*.md").map((path) => path.slice("docs/decisions/".length));
  expect(listed).toEqual(there.toSorted());
});
