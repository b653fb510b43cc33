// What this process keeps, garbage left out: for tests of what a hostile peer can make it keep.

import { setTimeout as pause } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

/** Objects, and the memory of buffers beside them. */
export async function heldBytes(): Promise<number> {
  for (let turn = 0; turn < 3; turn += 1) {
    collect();
    await pause(10); // buffers are freed beside the program, and what their end lets go of is garbage next time
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}
