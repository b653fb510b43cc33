// What a booted VM takes beside its guest's memory: QEMU, and everything that vmlet runs for it. As many tiny guests as
// the machine holds, on a node with vmlet's own defaults.

import { readdir, readFile } from "node:fs/promises";
import { freemem } from "node:os";
import { streamingPid } from "../../test/integration/e2e/streaming-pid.ts";
import { VmPod } from "../../test/integration/e2e/vm-pod.ts";
import { startTestNode, type TestNode } from "../../test/node/test-node.ts";
import type { Bench } from "../bench.ts";
import { inLanes } from "../lanes.ts";
import { guestMiB, proportionalMiB } from "../memory.ts";
import { figureOf, type Row } from "../table.ts";

const MIB = 2 ** 20;
const GUEST_BYTES = 128 * MIB;
/** Of the default: test nodes have more, for Debian's sake. */
const TCG_CACHE_MIB = 32;
/** Fewer do not show what a crowd costs; more than that is hours of emulated boots. */
const MOST = 56;
const BOOTS_AT_ONCE = 4;
/** All of the VMs together, and what must stay free for everybody else. */
const BUDGET_BYTES = 16 * 2 ** 30;
const RESERVE_BYTES = 2 * 2 ** 30;
const ONE_VM_BYTES = 256 * MIB;
const BOOT_LIMIT_MS = 900_000;

export async function memoryRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  const room = Math.floor(Math.min(BUDGET_BYTES, freemem() - RESERVE_BYTES) / ONE_VM_BYTES);
  const count = bench.isQuick ? 2 : Math.min(MOST, room);
  const config = { libvirt: { tcgCacheMiB: TCG_CACHE_MIB }, machine: { overheadBytes: 0 } };
  await using node = await startTestNode({ config }, signal);
  const pods: VmPod[] = [];
  const add = async (index: number): Promise<void> => {
    const container = { linux: { resources: { memoryLimitInBytes: BigInt(GUEST_BYTES) } } };
    const pod = await VmPod.start(node, { name: `booted-${index}`, container, bootLimitMs: BOOT_LIMIT_MS }, signal);
    pods.push(pod);
    await pod.says("tiny: ready", signal);
  };
  try {
    for (let from = 0; from < count; from += BOOTS_AT_ONCE) {
      bench.say(`guests boot: ${from} of ${count}`);
      await inLanes(
        Array.from({ length: Math.min(BOOTS_AT_ONCE, count - from) }, (_, index) => from + index),
        add,
      );
    }
    return await rowsOf(node, pods);
  } finally {
    bench.say(`${pods.length} guests go`);
    await inLanes(pods, async (pod) => await pod.remove(AbortSignal.timeout(300_000)));
  }
}

async function rowsOf(node: TestNode, pods: readonly VmPod[]): Promise<Row[]> {
  const found = await programsOf(node);
  if (found.qemus.length !== pods.length) throw new Error(`${found.qemus.length} QEMUs for ${pods.length} guests`);
  const overGuest: number[] = [];
  const whole: number[] = [];
  for (const pid of found.qemus) {
    const allMiB = await proportionalMiB(pid);
    whole.push(allMiB);
    overGuest.push(allMiB - (await guestMiB(pid, GUEST_BYTES / MIB)));
  }
  const own = [await node.daemonPid(), await streamingPid(node)];
  let helpersMiB = 0;
  for (const pid of [...own, ...found.helpers]) helpersMiB += (await proportionalMiB(pid)) / pods.length;
  const what = `a booted VM of ${pods.length}, ${GUEST_BYTES / MIB} MiB guest`;
  return [
    figureOf({ name: `QEMU of ${what}`, unit: "MiB", values: whole, target: { none: "most of it is the guest's" } }),
    figureOf({
      name: `QEMU over guest memory, ${what}`,
      unit: "MiB",
      values: overGuest,
      target: { none: "emulation's own: translated code and devices" },
    }),
    figureOf({
      name: `all of vmlet's processes, for each of ${pods.length} VMs`,
      unit: "MiB",
      values: [helpersMiB],
      target: 15,
    }),
  ];
}

/** By the paths in their command lines. */
async function programsOf({ layout }: TestNode): Promise<{ readonly qemus: number[]; readonly helpers: number[] }> {
  const [qemus, helpers]: [number[], number[]] = [[], []];
  for (const pid of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    const line = (await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "")).replaceAll("\0", " ");
    if (!line.includes(`${layout.stateFolderPath}/`) && !line.includes(`${layout.runFolderPath}/`)) continue;
    if (/^\S*qemu/.test(line)) qemus.push(Number(pid));
    if (/^\S*dnsmasq/.test(line)) helpers.push(Number(pid));
  }
  return { qemus, helpers };
}
