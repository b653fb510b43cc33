import { existsSync, globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { parseAnnotations } from "../../src/model/annotations.ts";
import { parseReference } from "../../src/model/image-reference.ts";

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

test("docs/pods.md has annotations, a key and an image that vmlet takes", () => {
  const text = readFileSync("docs/pods.md", "utf8");
  const named = [...text.matchAll(/^\| `(vmlet\.dev\/[a-z-]+)` \|/gm)].map(([, name = ""]) => [name, ""]);
  expect(named.length).toBeGreaterThan(3);
  expect(parseAnnotations(Object.fromEntries(named)).notices).toEqual([]);
  const used = [...text.matchAll(/^ {4}(vmlet\.dev\/[a-z-]+): (.+)$/gm)].map(([, name = "", value = ""]) => [
    name,
    value,
  ]);
  expect(parseAnnotations(Object.fromEntries(used))).toMatchObject({ rootSizeBytes: 20 * 2 ** 30, notices: [] });
  expect(parseReference(/image: (\S+)/.exec(text)?.[1] ?? "").name).toMatch(/^vmlet\.dev\/https\//);
});
