// Exec and port-forward, beside OpenSSH's own client and a plain socket on the same way, and what many of them do to CRI.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createConnection } from "node:net";
import { join } from "node:path";
import type { Readable } from "node:stream";
import type { MachineId, PodId } from "../../src/model/ids.ts";
import { machinePaths } from "../../src/store/layout.ts";
import { TRANSPORTS, type Transport } from "../../test/fakes/command-client.ts";
import { SpdyClient } from "../../test/fakes/spdy-client.ts";
import { streamingPid } from "../../test/integration/e2e/streaming-pid.ts";
import { httpGet, VmPod } from "../../test/integration/e2e/vm-pod.ts";
import { type PlainSsh, plainSsh } from "../../test/integration/guest/plain-ssh.ts";
import { type Bench, timed } from "../bench.ts";
import { peakMiB, restartPeak } from "../memory.ts";
import { figureOf, type Row, rowOf } from "../table.ts";

const MIB = 2 ** 20;
/** What is brought out of a guest lies in its memory, of which files may take half. */
const sizeMiBOf = ({ isQuick }: Bench): number => (isQuick ? 16 : process.env["FULL"] === "1" ? 1024 : 128);
const SSH_LIMIT_MS = 300_000;
const GET = "GET /big HTTP/1.0\r\n\r\n";
const spdy = TRANSPORTS[0] as Transport;

export async function streamRows(bench: Bench, signal: AbortSignal): Promise<Row[]> {
  bench.say("streams: three guests boot: one for us, one for OpenSSH, one with an agent alone");
  const pods: VmPod[] = [];
  const start = async (name: string, annotations: Record<string, string> = {}): Promise<VmPod> => {
    const memoryLimitInBytes = BigInt((768 + 2 * sizeMiBOf(bench)) * MIB);
    const container = { linux: { resources: { memoryLimitInBytes } } };
    const pod = await VmPod.start(bench.node, { name, container, pod: { annotations } }, signal);
    pods.push(pod);
    await httpGet(`http://${await pod.ip(signal)}/`, signal);
    return pod;
  };
  try {
    const ours = await start("ours", { "vmlet.dev/exec-way": "ssh" });
    const agent = await start("agent", { "vmlet.dev/exec-way": "agent" });
    return [
      await roundTrip(bench, "ssh", ours, signal),
      await roundTrip(bench, "agent", agent, signal),
      ...(await throughput(bench, ours, await start("by-hand"), signal)),
      await listsBeside(bench, ours, signal),
    ];
  } finally {
    for (const pod of pods) await pod.remove(AbortSignal.timeout(120_000));
  }
}

async function roundTrip({ node, isQuick, say }: Bench, way: string, pod: VmPod, signal: AbortSignal): Promise<Row> {
  say(`streams: exec of true by ${way}`);
  const values: number[] = [];
  const request = { containerId: pod.containerId, cmd: ["true"], timeout: 60n };
  for (let turn = -5; turn < (isQuick ? 10 : 200); turn += 1)
    await timed(turn < 0 ? [] : values, () => node.cri.runtime.execSync(request, signal));
  const none = "most of it is the guest's own time";
  return figureOf({ name: `exec of true, by ${way}`, unit: "ms", values, hasTail: true, target: { none } });
}

/** A file of zeros in the guest's memory is brought here each way; and how the streaming process grew meanwhile. */
async function throughput(bench: Bench, ours: VmPod, byHand: VmPod, signal: AbortSignal): Promise<Row[]> {
  const { node, isQuick, say } = bench;
  const sizeMiB = sizeMiBOf(bench);
  const make = `head -c ${sizeMiB * MIB} /dev/zero >/www/big`;
  const request = { containerId: ours.containerId, cmd: ["sh", "-c", make], timeout: 600n };
  await node.cri.runtime.execSync(request, signal);
  const ssh = sshOf(bench, byHand); // whose port is OpenSSH's: it takes one connection, and ours would stay
  await bySsh(ssh, make, signal);
  const [execMs, sshMs, forwardMs, socketMs]: [number[], number[], number[], number[]] = [[], [], [], []];
  const grownMiB: number[] = [];
  const pid = await streamingPid(node);
  const runs = isQuick ? 2 : sizeMiB > 128 ? 2 : 5;
  for (let turn = -1; turn < runs; turn += 1) {
    say(`streams: ${sizeMiB} MiB out of a guest, ${turn < 0 ? "to warm up" : `${turn + 1} of ${runs}`}`);
    const into = (values: number[]): number[] => (turn < 0 ? [] : values);
    const residentMiB = await restartPeak(pid);
    await timed(into(execMs), () => execOut(bench, ours, sizeMiB * MIB, signal));
    await timed(into(forwardMs), () => forwardOut(bench, ours, sizeMiB * MIB, signal));
    into(grownMiB).push((await peakMiB(pid)) - residentMiB);
    await timed(into(sshMs), () => bySsh(ssh, "cat /www/big", signal));
    const host = await ours.ip(signal);
    await timed(into(socketMs), () => socketOut(host, sizeMiB * MIB));
  }
  const target = 1 / 0.9;
  const what = `${sizeMiB} MiB out of a guest`;
  return [
    rowOf({ name: `${what}, exec`, baseline: "ssh, same port", oursMs: execMs, baselineMs: sshMs, target }),
    rowOf({ name: `${what}, port-forward`, baseline: "a TCP socket", oursMs: forwardMs, baselineMs: socketMs, target }),
    figureOf({ name: `${what}, streaming process grows`, unit: "MiB", values: grownMiB, target: 32 }),
  ];
}

/** What the kubelet asks, while others exec and forward: those are in a process of their own, as kubectl's are. */
async function listsBeside({ node, isQuick, say }: Bench, pod: VmPod, signal: AbortSignal): Promise<Row> {
  const [execs, forwards] = isQuick ? [20, 5] : [200, 50];
  const request = { filter: undefined };
  const list = async (): Promise<number[]> => {
    const tookMs: number[] = [];
    for (let turn = -50; turn < (isQuick ? 100 : 1_000); turn += 1)
      await timed(turn < 0 ? [] : tookMs, () => node.cri.runtime.listContainers(request, signal));
    return tookMs;
  };
  const baselineMs = await list();
  say(`streams: lists beside ${execs} commands and ${forwards} ports with traffic`);
  const argv = [node.layout.socketPath, pod.podId, pod.containerId, `${execs}`, `${forwards}`];
  const load = spawn(process.execPath, [join(import.meta.dirname, "../streams-load.ts"), ...argv], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  try {
    await once(load.stdout, "data", { signal }); // all are open
    const oursMs = await list();
    const name = `ListContainers beside ${execs} execs, ${forwards} ports`;
    return rowOf({
      name,
      baseline: "the same, idle",
      oursMs,
      baselineMs,
      hasTail: true,
      isJudgedByTail: true,
      target: 2,
    });
  } finally {
    load.stdin.end();
    if (load.exitCode === null) await once(load, "exit");
  }
}

function sshOf({ node }: Bench, { podId, containerId }: VmPod): PlainSsh {
  const paths = machinePaths(node.layout, podId as PodId, containerId as MachineId);
  return { socketPath: paths.sshSocketPath, keyFolderPath: paths.sshKeyFolderPath, user: "root" };
}

/** @throws when it does not succeed, in some minutes */
async function bySsh(at: PlainSsh, command: string, signal: AbortSignal): Promise<void> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(SSH_LIMIT_MS)]);
  const { exitCode, stderr } = await plainSsh(at, command, limit);
  if (exitCode !== 0) throw new Error(`ssh ${command}: ${exitCode}: ${stderr}`);
}

async function execOut({ node }: Bench, { containerId }: VmPod, bytes: number, signal: AbortSignal): Promise<void> {
  const wanted = { stdin: false, stdout: true, stderr: false, tty: false };
  const cmd = ["cat", "/www/big"];
  const { url } = await node.cri.runtime.exec({ ...wanted, containerId, cmd }, signal);
  await readAtLeast((await spdy.connect(url, wanted)).stdout, bytes);
}

async function forwardOut({ node }: Bench, { podId }: VmPod, bytes: number, signal: AbortSignal): Promise<void> {
  const { url } = await node.cri.runtime.portForward({ podSandboxId: podId, port: [] }, signal);
  const client = await SpdyClient.connect(url, "portforward.k8s.io");
  client.open({ streamType: "error", port: "80", requestID: "0" }).end();
  const data = client.open({ streamType: "data", port: "80", requestID: "0" });
  data.write(GET);
  await readAtLeast(data, bytes);
  client.transport.destroy();
}

async function socketOut(host: string, bytes: number): Promise<void> {
  const socket = createConnection({ host, port: 80 });
  socket.write(GET);
  await readAtLeast(socket, bytes);
  socket.destroy();
}

async function readAtLeast(from: Readable, bytes: number): Promise<void> {
  let got = 0;
  for await (const chunk of from as AsyncIterable<Buffer>) got += chunk.length;
  if (got < bytes) throw new Error(`${got} bytes came, ${bytes} were sent`);
}
