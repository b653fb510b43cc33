import { globSync, readFileSync } from "node:fs";
import { dirname, normalize } from "node:path";
import { expect, test } from "vitest";
import { MAY_IMPORT } from "./layers.ts";

const files = globSync("src/**/*.ts").map((path) => path.slice("src/".length));

test.each(files)("%s imports only what its layer may", (file) => {
  const own = roomOf(file);
  const allowed = MAY_IMPORT[own];
  if (allowed === undefined) throw new Error(`src/${file}: no row "${own}" in test/repo/layers.ts`);
  const stray = importsOf(file)
    .map((target) => roomOf(normalize(`${dirname(file)}/${target}`)))
    .filter((room) => room !== own && !allowed.includes("*") && !allowed.includes(room) && !isInside(room, own));
  expect(stray).toEqual([]);
});

test("there are sources to check", () => expect(files.length).toBeGreaterThan(10));

/** The most specific row: `libvirt/client/xdr.ts` -> `libvirt/client`, `engine/recover.ts` -> `engine`. */
function roomOf(file: string): string {
  const parts = file.split("/");
  const two = parts.slice(0, 2).join("/");
  return parts.length > 2 && two in MAY_IMPORT ? two : (parts[0] ?? "");
}

/** A folder may use its own special subfolder: `libvirt` the `libvirt/client`. */
const isInside = (room: string, own: string): boolean => room.startsWith(`${own}/`);

function importsOf(file: string): string[] {
  const source = readFileSync(`src/${file}`, "utf8");
  return [...source.matchAll(/(?:from|import)\s*\(?\s*"(\.[^"]+)"/g)].map((match) => match[1] ?? "");
}
