import { mkdtemp, rm, stat, writeFile } from "node:fs/promises";
import { connect } from "node:http2";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { serveCri } from "../../../src/cri/serve.ts";
import { PodSandboxConfig } from "../../../src/gen/runtime.ts";
import { silentLog } from "../../fakes/small-ports.ts";
import { connectCri } from "../../node/cri-client.ts";
import { World } from "../engine/world.ts";

let folder: string;
beforeEach(async () => void (folder = await mkdtemp(join(tmpdir(), "vmlet-serve-"))));
afterEach(async () => await rm(folder, { recursive: true }));

async function served(socketPath = join(folder, "vmlet.sock"), handlers = ["vmlet"]) {
  const { engine } = await new World().start();
  return await serveCri(
    { socketPath, cgroupDriver: "cgroupfs", effectiveConfig: {}, handlers, log: silentLog },
    engine,
  );
}
const soon = (): AbortSignal => AbortSignal.timeout(10_000);

test("the socket is its owner's alone, and gone with the server", async () => {
  const socketPath = join(folder, "vmlet.sock");
  {
    await using _server = await served();
    expect((await stat(socketPath)).mode & 0o777).toBe(0o600);
  }
  await expect(stat(socketPath)).rejects.toMatchObject({ code: "ENOENT" });
});

test("a socket that a dead daemon left is taken over; a living one's, and a file, are not", async () => {
  const socketPath = join(folder, "vmlet.sock");
  await using _first = await served();
  await expect(served()).rejects.toMatchObject({ failure: { code: "CONFIG_INVALID", field: "socketPath" } });
  const filePath = join(folder, "file");
  await writeFile(filePath, "precious");
  await expect(served(filePath)).rejects.toThrow(/is no socket/);
  using cri = connectCri(socketPath);
  expect((await cri.runtime.version({ version: "" }, soon())).runtimeName).toBe("vmlet");
});

test("stopping does not wait for clients that hold on to their connection", async () => {
  const socketPath = join(folder, "vmlet.sock");
  const server = await served();
  const silent = createConnection(socketPath);
  const session = connect("http://localhost", { createConnection: () => createConnection(socketPath) });
  session.on("error", () => {});
  silent.on("error", () => {});
  await new Promise((resolve) => session.once("connect", resolve));
  await server[Symbol.asyncDispose]();
  session.destroy();
  silent.destroy();
});

test("what is not built yet is refused by name", async () => {
  await using _server = await served();
  using cri = connectCri(join(folder, "vmlet.sock"));
  await expect(
    cri.runtime.checkpointContainer({ containerId: "x", location: "", timeout: 0n }, soon()),
  ).rejects.toMatchObject({
    code: 12,
    details: expect.stringContaining("CheckpointContainer"),
  });
});

test("an unknown id is NOT_FOUND on a read and nothing on Stop and Remove", async () => {
  await using _server = await served();
  using cri = connectCri(join(folder, "vmlet.sock"));
  const containerId = "f".repeat(64);
  await expect(cri.runtime.containerStatus({ containerId, verbose: false }, soon())).rejects.toMatchObject({ code: 5 });
  await cri.runtime.stopContainer({ containerId, timeout: 0n }, soon());
  await cri.runtime.removePodSandbox({ podSandboxId: containerId }, soon());
});

test("pods of a handler that router.handlers names are run, and Status tells of it", async () => {
  const socketPath = join(folder, "vmlet.sock");
  await using _server = await served(socketPath, ["machines"]);
  using cri = connectCri(socketPath);
  const { runtimeHandlers } = await cri.runtime.status({ verbose: false }, soon());
  expect(runtimeHandlers.map(({ name }) => name)).toEqual(["", "machines"]);
  const config = PodSandboxConfig.fromPartial({ metadata: { name: "web", uid: "uid", namespace: "default" } });
  const { podSandboxId } = await cri.runtime.runPodSandbox({ config, runtimeHandler: "machines" }, soon());
  const { items } = await cri.runtime.listPodSandbox({ filter: undefined }, soon());
  expect(items).toMatchObject([{ id: podSandboxId, runtimeHandler: "machines" }]);
});
