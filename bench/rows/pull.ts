// PullImage of an image from loopback, beside curl and sha256sum: to nowhere, and to a file that is synced.

import { rm } from "node:fs/promises";
import { join } from "node:path";
import { ImageSpec } from "../../src/gen/runtime.ts";
import { output } from "../../test/node/command.ts";
import { type Bench, timed } from "../bench.ts";
import { type Row, rowOf } from "../table.ts";

const FILE_NAME = "pulled.qcow2";

export async function pullRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  const { node, isQuick } = bench;
  const sizeMiB = isQuick ? 32 : 256;
  const runs = isQuick ? 2 : 5;
  bench.say(`a pull of ${sizeMiB} MiB, ${runs} times each way`);
  const { imageFolderPath, stateFolderPath } = node.layout;
  await makeImage(join(imageFolderPath, FILE_NAME), sizeMiB, signal);
  const url = `http://127.0.0.1:${node.images.port}/${FILE_NAME}`;
  const image = ImageSpec.fromPartial({ image: node.images.nameOf(FILE_NAME) });
  const copyPath = join(stateFolderPath, "pulled-by-hand");

  const oursMs: number[] = [];
  const hashedMs: number[] = [];
  const keptMs: number[] = [];
  for (let turn = -1; turn < runs; turn += 1) {
    const isWarmUp = turn < 0;
    await timed(isWarmUp ? [] : oursMs, () =>
      node.cri.image.pullImage({ image, auth: undefined, sandboxConfig: undefined }, signal),
    );
    await node.cri.image.removeImage({ image }, signal);
    await timed(isWarmUp ? [] : hashedMs, () => shell('curl -sSf "$1" | sha256sum', [url], signal));
    await timed(isWarmUp ? [] : keptMs, () =>
      shell('curl -sSf "$1" | tee "$2" | sha256sum && sync "$2"', [url, copyPath], signal),
    );
    await rm(copyPath);
  }
  const name = `PullImage, ${sizeMiB} MiB`;
  const none = "vmlet keeps and checks the bytes, which this does not; the row below has the target";
  return [
    rowOf({ name, baseline: "curl | sha256sum", oursMs, baselineMs: hashedMs, target: { none } }),
    rowOf({ name, baseline: "curl | tee file | sha256sum, sync file", oursMs, baselineMs: keptMs, target: 1.5 }),
  ];
}

/** Data that neither a web server nor a file system makes smaller. */
async function makeImage(path: string, sizeMiB: number, signal: AbortSignal): Promise<void> {
  const rawPath = `${path}.raw`;
  await shell('head -c "$2"M /dev/urandom >"$1"', [rawPath, `${sizeMiB}`], signal);
  await output(["/usr/bin/qemu-img", "convert", "-f", "raw", "-O", "qcow2", rawPath, path], signal);
  await rm(rawPath);
}

const shell = (script: string, args: readonly string[], signal: AbortSignal): Promise<string> =>
  output(["/bin/bash", "-euo", "pipefail", "-c", script, "bench", ...args], signal);
