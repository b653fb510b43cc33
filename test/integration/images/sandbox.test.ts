// What a program can do that reads a stranger's bytes: read them, and nothing else of the host. Each attempt is made
// outside the sandbox too, where it succeeds.

import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { type AddressInfo, createServer, type ListenOptions, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { SANDBOX_FILE_PATH, type SandboxLimits, sandboxed } from "../../../src/images/sandbox.ts";
import { type Finished, run } from "../../../src/lib/spawn.ts";
import { poll } from "../../node/poll.ts";

const signal = AbortSignal.timeout(120_000);
const MIB = 1024 ** 2;
const asNobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--"];
let folderPath = "";
let filePath = "";
let canaryPath = "";

beforeAll(async () => {
  folderPath = await mkdtemp(join(tmpdir(), "vmlet-sandbox-"));
  await chmod(folderPath, 0o755);
  [filePath, canaryPath] = [join(folderPath, "image"), join(folderPath, "canary")];
  await writeFile(filePath, "the image's bytes", { mode: 0o644 });
  await writeFile(canaryPath, "canary", { mode: 0o644 });
});
afterAll(async () => rm(folderPath, { recursive: true, force: true }));

async function inside(script: string, limits: Partial<SandboxLimits> = {}, inner = signal): Promise<Finished> {
  return start(sandboxed(shell(script), { memoryBytes: 512 * MIB, filePath, ...limits }), inner);
}

const outside = async (script: string): Promise<Finished> => start([...asNobody, ...shell(script)], signal);
const shell = (script: string) => ["busybox", "sh", "-c", script];

async function start([file = "", ...args]: readonly string[], inner: AbortSignal): Promise<Finished> {
  return run(file, args, {}, inner);
}

const said = ({ exitCode, stdout }: Finished) => ({ exitCode, stdout: stdout.toString("utf8").trim() });

test("it reads its one file, which it cannot change, as nobody", async () => {
  const file = SANDBOX_FILE_PATH;
  expect(said(await inside(`busybox cat ${file}; busybox id -u; busybox id -G`))).toEqual({
    exitCode: 0,
    stdout: "the image's bytes65534\n65534",
  });
  expect((await inside(`echo x >> ${file} || busybox chmod 666 ${file} || busybox rm ${file}`)).exitCode).not.toBe(0);
  expect(await readFile(filePath, "utf8")).toBe("the image's bytes");
});

test("a canary on the host cannot be read, nor the host's settings, processes and folders", async () => {
  const canary = `busybox cat ${canaryPath}`;
  expect(said(await outside(canary))).toEqual({ exitCode: 0, stdout: "canary" });
  expect((await inside(canary)).exitCode).not.toBe(0);
  for (const script of ["cat /etc/passwd", "ls /proc", "ls /run", "ls /var", "ls /sys", `kill -0 ${process.pid}`]) {
    expect((await inside(`busybox ${script}`)).exitCode, script).not.toBe(0);
  }
  expect(said(await inside("busybox ls / /dev /etc")).stdout.split(/\s+/)).toEqual(
    expect.arrayContaining(["dev", "etc", "file", "lib", "usr", "null", "ld.so.cache"]),
  );
  expect(
    (await inside("echo x > /new || echo x > /usr/new || echo x > /etc/new || echo x > /dev/new")).exitCode,
  ).not.toBe(0);
});

test("no socket leads out of it: not over loopback, and not by an abstract name", async () => {
  const abstractName = `vmlet-sandbox-${process.pid}`;
  await using tcp = await listening({ host: "127.0.0.1", port: 0 });
  await using abstract = await listening({ path: `\0${abstractName}` });
  expect([tcp.listening, abstract.listening]).toEqual([true, true]);
  const { port } = tcp.address() as AddressInfo;
  for (const reach of [`busybox nc -w 5 127.0.0.1 ${port} </dev/null`, `perl -e '${connectTo(abstractName)}'`]) {
    expect(said(await outside(reach)), reach).toEqual({ exitCode: 0, stdout: "reached" });
    const { exitCode, stdout } = said(await inside(reach));
    expect({ isDone: exitCode === 0, stdout }, reach).toEqual({ isDone: false, stdout: "" });
  }
  expect(said(await inside("busybox ip -o link | busybox wc -l; busybox ip route")).stdout).toBe("1");
});

test("nobody's rights are all it has: no capability, and none to be gained", async () => {
  for (const script of ["mount -t tmpfs none /usr", "ip link set lo down", "unshare -m true", "hostname mine"]) {
    expect((await inside(`busybox ${script}`)).exitCode, script).not.toBe(0);
  }
});

test("what wants more than its memory or time is stopped", async () => {
  const hungry = "busybox dd if=/usr/bin/busybox of=/dev/null bs=600M count=1";
  expect(said(await inside(hungry)).exitCode).not.toBe(0);
  expect(said(await inside(hungry, { memoryBytes: 2048 * MIB })).exitCode).toBe(0);
  const startedAtMs = Date.now();
  expect((await inside("while :; do :; done", { cpuSeconds: 1 })).exitCode).toBe(128 + 9);
  expect(Date.now() - startedAtMs).toBeLessThan(30_000);
});

test("aborted, nothing of it goes on, what it has started included", async () => {
  const controller = new AbortController();
  const seconds = `4${process.pid}`; // that nobody else sleeps
  const ended = inside(`busybox sleep ${seconds} & busybox sleep ${seconds}; true`, {}, controller.signal);
  const sleepers = async (): Promise<number> => {
    const { stdout } = await run("pgrep", ["-fxc", `busybox sleep ${seconds}`], {}, signal);
    return Number(stdout);
  };
  const until = async (count: number) =>
    poll(async () => (await sleepers()) === count || undefined, { what: `${count} sleepers`, limitMs: 60_000 }, signal);
  await until(2);
  controller.abort(new Error("enough"));
  await expect(ended).rejects.toThrow("enough");
  await until(0);
});

async function listening(where: ListenOptions): Promise<Server & AsyncDisposable> {
  const server = createServer((socket) => void socket.end("reached"));
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  server.once("listening", resolve).once("error", reject);
  server.listen(where);
  await promise;
  return server;
}

const connectTo = (abstractName: string): string =>
  `use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0); connect(S, pack_sockaddr_un("\\0${abstractName}")) or exit 1; print <S>`;
