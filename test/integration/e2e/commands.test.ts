// The commands for people as they are typed: on a terminal and in a pipe, against a real daemon and a slow server.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { PullImageRequest } from "../../../src/gen/runtime.ts";
import { type Finished, run } from "../../../src/lib/spawn.ts";
import { WebServer } from "../../fakes/web-server.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { scrape } from "../../node/metrics.ts";
import { poll } from "../../node/poll.ts";
import { removePods } from "../../node/teardown.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { VmPod } from "./vm-pod.ts";

const suite = AbortSignal.timeout(300_000);
const VMLET = join(REPO_PATH, "bin/vmlet");
/** Of an image that comes bit by bit: there is something to be seen of it between any two. */
const PIECES = 4;

let node: TestNode;
let server: WebServer;
let tiny: Buffer;
beforeAll(async () => {
  server = await WebServer.listen();
  node = await startTestNode({ config: { images: { allowHttp: true, maxParallelDownloads: 1 } } }, suite);
  tiny = await readFile(join(node.layout.imageFolderPath, "tiny.qcow2"));
});
afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  await server?.[Symbol.asyncDispose]();
});

const argv = (...args: string[]): string[] => [...args, "--config", node.layout.configPath];

async function vmlet(...args: string[]): Promise<{ exitCode: number | null; stdout: string; stderr: string }> {
  const done: Finished = await run(VMLET, argv(...args), {}, suite);
  return { exitCode: done.exitCode, stdout: done.stdout.toString("utf8"), stderr: done.stderr };
}

interface Shown extends Disposable {
  type(keys: string): void;
  readonly ended: Promise<{ code: number; text: string; errors: string }>;
}

/** @param onText Told all that is on its standard output so far. */
function start(file: string, args: readonly string[], onText: (text: string) => void): Shown {
  const child = spawn(file, args, { signal: suite });
  let [text, errors] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => onText((text += chunk)));
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => void (errors += chunk));
  const ended = once(child, "close").then(([code]) => ({ code: code as number, text, errors }));
  ended.catch(() => {}); // a test that failed does not wait for it
  return { type: (keys) => void child.stdin.write(keys), ended, [Symbol.dispose]: () => void child.kill("SIGKILL") };
}

/** On a pseudo-terminal of its own; disposing it takes that away. */
function onTerminal(args: readonly string[], onText: (text: string) => void = () => {}): Shown {
  const command = ["stty cols 100 &&", VMLET, ...argv(...args)].join(" "); // no word of it has a space
  return start("script", ["-qec", command, "/dev/null"], onText);
}

/** A name behind which the image comes as far as it was seen: another piece when there is one more of `seen` in the text. */
function asSeen(path: string, seen: RegExp): { readonly name: string; readonly onText: (text: string) => void } {
  const { next } = server.serveInPieces(path, tiny, PIECES);
  let times = 0;
  const onText = (text: string): void => {
    const now = new Set(text.match(seen)).size;
    if (now > times) next();
    times = now;
  };
  return { name: server.nameOf(path), onText };
}

test("pull --json tells progress that only grows, and ends with the image that CRI then lists", async () => {
  const { name, onText } = asSeen("/json.qcow2", /"receivedBytes":[1-9]\d*/g);
  using pulling = start(VMLET, argv("pull", "--json", name), onText);
  const { code, text, errors } = await pulling.ended;
  expect({ code, errors }).toEqual({ code: 0, errors: "" });
  const told = text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line));
  const received = told.filter(({ phase }) => phase === "receiving").map(({ receivedBytes }) => receivedBytes);
  expect(received.length).toBeGreaterThan(2);
  expect(received).toEqual(received.toSorted((one, other) => one - other));
  expect(received.at(-1)).toBeGreaterThan(received[0]);
  expect(told.find(({ phase }) => phase === "receiving")).toMatchObject({ type: "progress", totalBytes: tiny.length });
  const { images } = await node.cri.image.listImages({ filter: undefined }, suite);
  expect(told.at(-1)).toMatchObject({ type: "image", digest: images[0]?.id, format: "qcow2" });
});

test("a pull that CRI began is in vmlet images while it is under way, and its image afterwards", async () => {
  const { letGo } = server.serveHeldBack("/kubelet.qcow2", tiny);
  using _always = { [Symbol.dispose]: letGo }; // others wait behind it
  const name = server.nameOf("/kubelet.qcow2");
  const pulling = node.cri.image.pullImage(PullImageRequest.fromPartial({ image: { image: name } }), suite);
  const [seen] = await poll(
    async () => {
      const { pulls } = JSON.parse((await vmlet("images", "--json")).stdout);
      return pulls[0]?.receivedBytes > 0 ? pulls : undefined;
    },
    { what: "the pull in vmlet images", limitMs: 30_000 },
    suite,
  );
  expect(seen).toMatchObject({
    image: `${name}:latest`,
    phase: "receiving",
    totalBytes: tiny.length,
    waiters: ["cri"],
  });
  const metrics = await scrape(node, suite);
  expect(metrics.get("vmlet_image_pulls_under_way")).toBe(1);
  expect(metrics.get("vmlet_image_pulls_under_way_expected_bytes")).toBe(tiny.length);
  const table = (await vmlet("images")).stdout;
  expect(table).toMatch(/^PULLING +STATE +RECEIVED/m);
  expect(table).toMatch(/kubelet\.qcow2:latest +receiving +[\d.]+ MB of [\d.]+ MB \(\d+ %\)/);
  letGo();
  const { imageRef } = await pulling;
  const after = (await vmlet("images", "--no-trunc")).stdout;
  expect(after).not.toContain("PULLING");
  expect(after).toMatch(new RegExp(`kubelet\\.qcow2 +latest +${imageRef} +[\\d.]+ MB +[\\d.]+ MB +no +\\d+s ago`));
});

test("one download more than the node allows at a time is waiting in vmlet images, and may be given up", async () => {
  const { letGo } = server.serveHeldBack("/first.qcow2", tiny);
  using _always = { [Symbol.dispose]: letGo }; // others wait behind it
  const request = PullImageRequest.fromPartial({ image: { image: server.nameOf("/first.qcow2") } });
  const first = node.cri.image.pullImage(request, suite);
  const phases = async (): Promise<string> => {
    const { pulls } = JSON.parse((await vmlet("images", "--json")).stdout);
    return pulls.map(({ phase }: { phase: string }) => phase).join();
  };
  const until = async (what: string): Promise<true> =>
    poll(async () => (await phases()) === what || undefined, { what, limitMs: 30_000 }, suite);
  await until("receiving");
  using second = onTerminal(["pull", server.nameOf("/second.qcow2")]);
  await until("receiving,waiting");
  expect((await vmlet("images")).stdout).toMatch(/second\.qcow2:latest +waiting +0 B/);
  expect((await scrape(node, suite)).get("vmlet_image_pulls_waiting")).toBe(1);
  second.type("\u0003");
  expect((await second.ended).code).toBe(130);
  await until("receiving");
  letGo();
  await first;
  expect(server.requests).not.toContain("/second.qcow2");
});

const BAR = /\[(=* *)\] (?:[\d.]+ [kM]?B of [\d.]+ MB|checking)/g;

test("on a terminal a bar moves to its end", async () => {
  const { name, onText } = asSeen("/bar.qcow2", BAR);
  using terminal = onTerminal(["pull", name], onText);
  const { code, text } = await terminal.ended;
  expect(code).toBe(0);
  const drawn = [...text.matchAll(BAR)].map(([, bar = ""]) => bar);
  const filled = drawn.map((bar) => bar.trimEnd().length);
  expect(filled.length).toBeGreaterThan(2);
  expect(filled).toEqual(filled.toSorted((one, other) => one - other));
  expect(drawn.at(-1)).toMatch(/^=+$/);
  expect(text).toContain(`${name}: sha256:`);
});

test("Ctrl-C ends the waiting with 130, says so, and leaves no pull behind", async () => {
  server.serveHeldBack("/never.qcow2", tiny);
  using terminal = onTerminal(["pull", server.nameOf("/never.qcow2")]);
  const pulls = async (): Promise<unknown[]> => JSON.parse((await vmlet("images", "--json")).stdout).pulls;
  await poll(async () => ((await pulls()).length > 0 ? true : undefined), { what: "the pull", limitMs: 30_000 }, suite);
  terminal.type("\u0003");
  const { code, text } = await terminal.ended;
  expect(code).toBe(130);
  expect(text).toContain("no longer waiting; the download ends unless somebody else waits for it");
  expect(text).not.toContain("    at "); // no stack
  await poll(
    async () => ((await pulls()).length === 0 ? true : undefined),
    { what: "its end", limitMs: 30_000 },
    suite,
  );
});

test("what cannot be pulled is one line on stderr and 1", async () => {
  const { exitCode, stdout, stderr } = await vmlet("pull", server.nameOf("/absent.qcow2"));
  expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
  expect(stderr).toMatch(/^(?:.*: asking, 0 B\n)?vmlet: .*answers 404.* \(NOT_FOUND\)\n$/);
  const nowhere = await run(VMLET, ["images", "--socket", "/nonexistent"], {}, suite);
  expect(nowhere.exitCode).toBe(1);
  expect(nowhere.stderr).toMatch(/^vmlet: no daemon on \/nonexistent: .*\n$/);
});

test("ps shows the machine with its pod, address and domain; version shows both", async () => {
  await removePods(node.layout, suite); // of a try that failed
  const pod = await VmPod.create(node, { name: "shown" }, suite);
  const ip = await pod.ip(suite);
  const short = pod.containerId.slice(0, 12);
  const { stdout } = await vmlet("ps");
  const [heads, row, ...more] = stdout
    .trimEnd()
    .split("\n")
    .map((line) => line.split(/ {3,}/));
  expect(heads).toEqual(["ID", "POD", "NAMESPACE", "CONTAINER", "STATE", "IP", "DOMAIN", "AGE"]);
  expect(row?.slice(0, 7)).toEqual([short, "shown", "default", "vm", "created", ip, `default_shown_${short}`]);
  expect(more).toEqual([]);
  expect((await vmlet("version")).stdout).toMatch(/^vmlet +(\S+)\ndaemon +\1, CRI v1, on \/run\/vmlet-/);
});
