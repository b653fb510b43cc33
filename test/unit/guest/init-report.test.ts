import { mkdtempDisposable, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { expect, test } from "vitest";
import { parseInitReport, readInitReportFile } from "../../../src/guest/init-report.ts";

test.each([
  ["exit 0\n", 0],
  ["exit 3\r\n", 3],
  ["noise\nexit 1\nexit 255\nmore noise\n", 255],
  ["exit 4\nexit 5", 4],
  [`${"x".repeat(100_000)}\nexit 9\n`, 9],
  ["", undefined],
  ["exit 12", undefined],
  ["exit 256\n", undefined],
  ["exit -1\nexit 1e1\n exit 1\nexit 0001\nEXIT 1\n", undefined],
  [`exit 2\n${"\n".repeat(5000)}`, undefined],
])("of what a guest wrote the last complete, valid line counts (case %#)", (text, exitCode) => {
  expect(parseInitReport(Buffer.from(text))).toEqual(exitCode === undefined ? undefined : { exitCode });
});

test("no bytes of a guest make it throw or give a status that no process can have", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const code = parseInitReport(bytes)?.exitCode ?? 0;
      expect(code >= 0 && code <= 255).toBe(true);
    }),
  );
});

test("a report file is read from its end; one that is missing or a link says nothing", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const path = join(folder.path, "report");
  expect(await readInitReportFile(path)).toBeUndefined();
  await writeFile(path, `${"noise\n".repeat(10_000)}exit 42\n`);
  expect(await readInitReportFile(path)).toEqual({ exitCode: 42 });
  await symlink(path, `${path}.link`);
  expect(await readInitReportFile(`${path}.link`)).toBeUndefined();
});
