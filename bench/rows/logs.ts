// A console that a guest has filled, turned into its CRI log, beside sed that puts the same words before each line.

import { copyFile, mkdir, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { createConsoleLogs } from "../../src/console/adapter.ts";
import { newMachineId } from "../../src/model/ids.ts";
import { keptLog } from "../../test/fakes/kept-log.ts";
import { output } from "../../test/node/command.ts";
import { type Bench, timed } from "../bench.ts";
import { figureOf, type Row, rowOf } from "../table.ts";

/** Below the backlog that a log may have: nothing is dropped. */
const CONSOLE_MIB = 96;
const LINE = `${"what a guest prints ".repeat(4)}\r\n`;

export async function logRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  const { node, isQuick } = bench;
  const sizeMiB = isQuick ? 8 : CONSOLE_MIB;
  const runs = isQuick ? 2 : 5;
  bench.say(`a console of ${sizeMiB} MiB becomes a log, ${runs} times each way`);
  const folderPath = join(node.layout.stateFolderPath, "bench-logs");
  const pathOf = (name: string): string => join(folderPath, name);
  await mkdir(folderPath);
  try {
    await writeFile(pathOf("printed"), LINE.repeat(Math.floor((sizeMiB * 2 ** 20) / LINE.length)));
    const oursMs: number[] = [];
    const baselineMs: number[] = [];
    for (let turn = -1; turn < runs; turn += 1) {
      await copyFile(pathOf("printed"), pathOf("console")); // what was read of it is given back to the disk
      await timed(turn < 0 ? [] : oursMs, () => turnIntoLog(pathOf, signal));
      const script = 'sed "s/^/$(date +%FT%T.%NZ) stdout F /; s/\\r$//" "$1" >"$2"';
      const argv = ["/bin/sh", "-c", script, "bench", pathOf("printed"), pathOf("by-hand.log")] as const;
      await timed(turn < 0 ? [] : baselineMs, () => output([...argv], signal));
    }
    const name = `console to log, ${sizeMiB} MiB`;
    const none = "the row above has the target";
    return [
      rowOf({ name, baseline: "sed 's/^/time stdout F /'", oursMs, baselineMs, target: 2 }),
      figureOf({
        name: "console to log, throughput",
        unit: "MB/s",
        values: oursMs.map((ms) => (sizeMiB * 2 ** 20) / 1000 / ms),
        target: { none },
      }),
    ];
  } finally {
    await rm(folderPath, { recursive: true, force: true });
  }
}

async function turnIntoLog(pathOf: (name: string) => string, signal: AbortSignal): Promise<void> {
  for (const name of ["position", "container.log"]) await rm(pathOf(name), { force: true });
  await using logs = createConsoleLogs({}, { clock: { nowMs: () => Date.now() }, log: keptLog() });
  const machineId = newMachineId();
  const paths = {
    consoleFilePath: pathOf("console"),
    positionPath: pathOf("position"),
    logPath: pathOf("container.log"),
    logFolderPath: dirname(pathOf("container.log")),
  };
  await logs.follow({ machineId, ...paths, initReportPath: pathOf("init-report") }, signal);
  await logs.finish(machineId, signal);
}
