// Two hundred commands and fifty forwarded ports at once, on one guest: each gets its own bytes, and nothing is left.

import { once } from "node:events";
import { readdir } from "node:fs/promises";
import type { Readable } from "node:stream";
import { text } from "node:stream/consumers";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type CommandClient, TRANSPORTS, type Transport } from "../../fakes/command-client.ts";
import { SpdyClient } from "../../fakes/spdy-client.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { streamingPid } from "./streaming-pid.ts";
import { BOOT_LIMIT_MS, httpGet, VmPod } from "./vm-pod.ts";

const EXECS = 200;
const FORWARDS = 50;
const LANES = 5;
const LIMIT_MS = 3 * BOOT_LIMIT_MS;
const suite = AbortSignal.timeout(4 * LIMIT_MS);
const [spdy, webSocket] = [TRANSPORTS[0], TRANSPORTS[2]] as [Transport, Transport];
const wanted = { stdin: true, stdout: true, stderr: true, tty: false };

let node: TestNode;
let pod: VmPod;
beforeAll(async () => {
  node = await startTestNode({}, suite);
  pod = await VmPod.start(node, { container: { linux: { resources: { memoryLimitInBytes: 1n << 30n } } } }, suite);
  await pod.says("tiny: ready", suite);
  await httpGet(`http://${await pod.ip(suite)}/`, suite);
}, LIMIT_MS);
afterAll(async () => await node[Symbol.asyncDispose](), LIMIT_MS);

test("200 commands and 50 forwarded ports at once each get their own, and nothing is left", {
  timeout: LIMIT_MS,
}, async () => {
  const before = await held();
  const execs = await Promise.all(Array.from({ length: EXECS }, (_, n) => openExec(n % 2 === 0 ? spdy : webSocket)));
  const forwards = await Promise.all(Array.from({ length: FORWARDS }, openForward));
  for (const round of ["one", "two"]) {
    await Promise.all(execs.map(async (exec, n) => await echo(exec, `${round} ${n}\n`)));
  }
  const pages: string[] = [];
  for (
    let at = 0;
    at < FORWARDS;
    at += LANES // the guest's web server has a short queue
  )
    pages.push(...(await Promise.all(forwards.slice(at, at + LANES).map(async ({ page }) => await page()))));
  const bodies = new Set(pages.map((page) => page.split("\r\n\r\n")[1])); // without the date
  expect([...bodies]).toEqual([expect.stringContaining("tiny: a virtual machine")]);
  expect((await held()).guestProcesses).toBeGreaterThanOrEqual(before.guestProcesses + EXECS);
  for (const { stdin } of execs) stdin.end();
  const statuses = await Promise.all(execs.map(async ({ status }) => await status));
  expect(new Set(statuses)).toEqual(new Set([JSON.stringify({ metadata: {}, status: "Success" })]));
  for (const { client } of forwards) client.transport.destroy();
  const left = async (): Promise<true | undefined> => {
    const { descriptors, guestProcesses } = await held();
    return (descriptors <= before.descriptors && guestProcesses <= before.guestProcesses) || undefined;
  };
  await poll(left, { what: `no more than ${JSON.stringify(before)}`, limitMs: 90_000, everyMs: 500 }, suite);
});

/** What sessions may leave behind: descriptors of both processes, and processes of the guest. */
async function held(): Promise<{ descriptors: number; guestProcesses: number }> {
  const cmd = ["sh", "-c", "ls -d /proc/[0-9]* | wc -l"];
  const { stdout } = await node.cri.runtime.execSync({ containerId: pod.containerId, cmd, timeout: 60n }, suite);
  const pids = [await node.daemonPid(), await streamingPid(node)];
  const open = await Promise.all(pids.map(async (pid) => (await readdir(`/proc/${pid}/fd`)).length));
  return {
    descriptors: open.reduce((sum, count) => sum + count, 0),
    guestProcesses: Number(Buffer.from(stdout).toString()),
  };
}

async function openExec(transport: Transport): Promise<CommandClient> {
  const { url } = await node.cri.runtime.exec({ ...wanted, containerId: pod.containerId, cmd: ["cat"] }, suite);
  return await transport.connect(url, wanted);
}

async function echo({ stdin, stdout }: CommandClient, line: string): Promise<void> {
  stdin.write(line);
  expect(await lineOf(stdout)).toBe(line);
}

/** What comes next, up to the end of a line; there must be nothing behind it. */
async function lineOf(stdout: Readable): Promise<string> {
  let line = "";
  while (!line.endsWith("\n")) {
    const chunk = stdout.read() as Buffer | null;
    if (chunk === null) await once(stdout, "readable", { signal: suite });
    else line += chunk.toString();
  }
  return line;
}

async function openForward(): Promise<{ client: SpdyClient; page: () => Promise<string> }> {
  const { url } = await node.cri.runtime.portForward({ podSandboxId: pod.podId, port: [] }, suite);
  const client = await SpdyClient.connect(url, "portforward.k8s.io");
  return {
    client,
    page: async () => {
      client.open({ streamType: "error", port: "80", requestID: "0" }).resume().end();
      const data = client.open({ streamType: "data", port: "80", requestID: "0" });
      data.write("GET / HTTP/1.0\r\n\r\n");
      return await text(data);
    },
  };
}
