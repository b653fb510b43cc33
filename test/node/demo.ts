// make demo: a pod becomes a VM and goes again, each step as it happens with the time since the start.

import { spawn } from "node:child_process";
import { readdir, readFile, stat } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ListContainersRequest, ListPodSandboxRequest } from "../../src/gen/runtime.ts";
import { output } from "./command.ts";
import { connectCri } from "./cri-client.ts";
import { answers } from "./daemon.ts";
import { type Driver, openDriver } from "./demo-driver.ts";
import { DEMO_LABEL, demoPod } from "./demo-pod.ts";
import { dim, elapsed, line, ok, progress, step } from "./demo-screen.ts";
import { devNode } from "./dev-node.ts";
import { REPO_PATH } from "./layout.ts";
import { poll } from "./poll.ts";
import { findLeftovers } from "./teardown.ts";

const startedAtMs = Date.now();
const guest = process.env["GUEST"] === "debian" ? "debian" : "tiny";
const keep = (process.env["KEEP"] ?? "") !== "";
const bootLimitMs = guest === "debian" ? 600_000 : 120_000;
const signal = AbortSignal.timeout(bootLimitMs + 300_000);
const { options, layout } = devNode();

step(`a node${guest === "debian" ? " (the Debian guest takes a minute or two to boot without KVM)" : ""}`);
const nodeWasUp = await answers(layout, signal);
if (!nodeWasUp) await runNodeScript("up.ts");
ok(nodeWasUp ? "was up already" : "is up");

const demo = demoPod(guest, layout, options.imagePort);
using driver = await openDriver(layout, demo, (text) => line(dim(`$ ${text}`)));
let podId: string | undefined;
let failure: unknown;
try {
  podId = await show(driver);
} catch (error) {
  failure = error;
  await explain(error);
}
if (keep && podId !== undefined && failure === undefined) {
  printHints(podId);
} else {
  await cleanUp();
}
if (failure !== undefined) process.exit(1);
console.log(`\n${guest} demo done in ${elapsed()}.`);
process.exit(0);

/** Up to the answer of the guest. The pod's id; what was made is found again by `cleanUp`. */
async function show(driver: Driver): Promise<string> {
  step(`pull ${demo.image}`);
  await driver.pull(demo.image, signal);
  ok("image is in the store, its digest is its id");

  step("the pod: netns and CNI network, no VM yet");
  const id = await driver.runPod(signal);
  const ip = await driver.podIp(id, signal);
  ok(`pod ${id.slice(0, 12)} has ${ip}`);

  step("the container: disk on the image, seed with the guest's settings, libvirt domain");
  const containerId = await driver.create(id, signal);
  await driver.start(containerId, signal);
  ok(`container ${containerId.slice(0, 12)} runs, and is an ordinary domain:`);
  const list = await output(["/usr/bin/virsh", "list", "--title"], signal);
  for (const row of list.trimEnd().split("\n")) line(row);

  step(`the guest boots; what it prints is the container's log (crictl logs ${containerId.slice(0, 12)})`);
  const page = await poll(
    () => askGuest(ip),
    { what: `HTTP answer of ${ip}`, limitMs: bootLimitMs, everyMs: 300 },
    signal,
  );
  for (const row of (await consoleLines()).slice(-8)) line(dim(`| ${row}`));

  step(`GET http://${ip}/`);
  ok(page.trim());
  return id;
}

async function askGuest(ip: string): Promise<string | undefined> {
  progress((await consoleLines()).at(-1) ?? "");
  const response = await fetch(`http://${ip}/`, { signal: AbortSignal.timeout(2_000) });
  return response.ok ? await response.text() : undefined;
}

async function cleanUp(): Promise<void> {
  step("everything away again");
  const own = await podsOfDemo();
  for (const { id, containerIds } of own) {
    for (const containerId of containerIds) {
      await driver.stop(containerId, 60, signal);
      await driver.remove(containerId, signal);
    }
    await driver.stopPod(id, signal);
    await driver.removePod(id, signal);
  }
  const left = await findLeftovers(layout, signal);
  if (left.length === 0) ok("no domain, no interface, no address, no process is left");
  else failure ??= new Error("something is left");
  for (const text of left) line(`LEFT BEHIND: ${text}`);
  if (!nodeWasUp) await runNodeScript("down.ts");
}

/** The pod of this run, if it came so far. */
async function podsOfDemo(): Promise<{ id: string; containerIds: string[] }[]> {
  using cri = connectCri(layout.socketPath);
  const pods = await cri.runtime.listPodSandbox(
    ListPodSandboxRequest.fromPartial({ filter: { labelSelector: { [DEMO_LABEL]: demo.label } } }),
    signal,
  );
  const { containers } = await cri.runtime.listContainers(ListContainersRequest.fromPartial({}), signal);
  return pods.items.map(({ id }) => ({
    id,
    containerIds: containers.filter((own) => own.podSandboxId === id).map((own) => own.id),
  }));
}

/** What the guest printed, as the daemon wrote it into the pod's log: without time, stream and tag. */
async function consoleLines(): Promise<string[]> {
  const folderPath = String(demo.pod["log_directory"]);
  const names = await readdir(folderPath).catch((): string[] => []);
  const texts = await Promise.all(
    names.map(async (name) => {
      const { mtimeMs } = await stat(join(folderPath, name));
      return mtimeMs < startedAtMs ? "" : await readFile(join(folderPath, name), "utf8");
    }),
  );
  return (
    texts
      .join("")
      .split("\n")
      .map((text) => text.split(" ").slice(3).join(" "))
      // oxlint-disable-next-line no-control-regex -- guests colour their console
      .map((text) => text.replace(/\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x1f\x7f]/g, "").trimEnd())
      .filter((text) => text !== "")
  );
}

/** Its lines are shown as they come. */
async function runNodeScript(name: string): Promise<void> {
  const child = spawn(process.execPath, [join(REPO_PATH, "test/node", name)], { stdio: ["ignore", "pipe", "inherit"] });
  const { promise: ended, resolve, reject } = Promise.withResolvers<number | null>();
  child.once("error", reject).once("close", resolve);
  for await (const row of createInterface({ input: child.stdout })) if (row.startsWith("node-")) line(row);
  if ((await ended) !== 0) throw new Error(`${name} failed`);
}

async function explain(error: unknown): Promise<void> {
  console.error(`\nFAILED: ${error instanceof Error ? error.message : String(error)}`);
  for (const row of (await consoleLines()).slice(-12)) console.error(`  guest  | ${row}`);
  const log = await readFile(layout.daemonLogPath, "utf8").catch(() => "");
  for (const row of log.trimEnd().split("\n").slice(-12)) console.error(`  daemon | ${row}`);
}

function printHints(id: string): void {
  console.log(`
It is left running. To look at it:
  alias crictl='${join(REPO_PATH, ".cache/bin/crictl")} --config ${layout.crictlConfigPath}'
  crictl pods; crictl ps; crictl inspectp ${id.slice(0, 12)}
  crictl logs -f $(crictl ps -q --pod ${id.slice(0, 12)})
  virsh list --title; virsh dumpxml <name>; virsh console <name> ua-vmlet-hvc
To end it: make node-down`);
}
