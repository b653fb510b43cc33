// The whole of a pod's life through crictl, each answer as the user of any container runtime expects it.

import { existsSync } from "node:fs";
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ContainerConfig, PodSandboxConfig } from "../../../src/gen/runtime.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { BOOT_LIMIT_MS, containerConfigOf, httpGet, podConfigOf, virsh } from "./vm-pod.ts";

const hasCrictl = existsSync(".cache/bin/crictl");
const suite = AbortSignal.timeout(600_000);

describe.skipIf(!hasCrictl)(
  hasCrictl ? "crictl" : "crictl (skipped: not built, Go or its module proxy is missing)",
  () => {
    let node: TestNode;
    let podId = "";
    let containerId = "";
    let podPath = "";
    let containerPath = "";

    const crictl = async (...args: string[]): Promise<string> => {
      const { exitCode, stdout, stderr } = await node.crictl(args, suite);
      expect(exitCode, `crictl ${args.join(" ")}: ${stderr}`).toBe(0);
      return stdout.trim();
    };
    const json = async (verb: string, ...args: string[]): Promise<Record<string, never>> =>
      JSON.parse(await crictl(verb, "-o", "json", ...args));

    beforeAll(async () => {
      node = await startTestNode({}, suite);
      const folderPath = join(node.layout.stateFolderPath, "specs");
      await mkdir(folderPath, { recursive: true });
      podPath = join(folderPath, "pod.json");
      containerPath = join(folderPath, "container.json");
      const pod = podConfigOf(node, "web", {
        dnsConfig: { servers: ["10.96.0.10"], searches: ["svc.local"], options: [] },
      });
      await writeFile(podPath, asJson(pod, PodSandboxConfig));
      await writeFile(containerPath, asJson(containerConfigOf(node.tinyImage), ContainerConfig));
    });
    afterAll(async () => await node[Symbol.asyncDispose]());

    test("version names vmlet and speaks v1", async () => {
      const text = await crictl("version");
      expect(text).toMatch(/RuntimeName:\s+vmlet/);
      expect(text).toMatch(/RuntimeApiVersion:\s+v1/);
    });

    test("info says that runtime and network are ready and which handlers there are", async () => {
      const info = (await json("info")) as unknown as {
        status: { conditions: { type: string; status: boolean }[] };
        runtimeHandlers: { name?: string }[];
      };
      expect(info.status.conditions.map(({ type, status }) => [type, status])).toEqual([
        ["RuntimeReady", true],
        ["NetworkReady", true],
      ]);
      expect(info.runtimeHandlers.map(({ name = "" }) => name)).toEqual(["", "vmlet"]);
    });

    test("pull answers with the image's id, and images, inspecti and imagefsinfo know it", async () => {
      const pulled = await crictl("pull", node.tinyImage);
      const id = /sha256:[0-9a-f]{64}/.exec(pulled)?.[0];
      const { images } = (await json("images")) as unknown as {
        images: { id: string; repoTags: string[]; size: string }[];
      };
      expect(images).toEqual([expect.objectContaining({ id, repoTags: [`${node.tinyImage}:latest`] })]);
      expect(Number(images[0]?.size)).toBeGreaterThan(1_000_000);
      const { status } = (await json("inspecti", node.tinyImage)) as unknown as { status: { id: string } };
      expect(status.id).toBe(id);
      const fs = (await json("imagefsinfo")) as unknown as {
        status: { imageFilesystems: { usedBytes: { value: string } }[] };
      };
      expect(Number(fs.status.imageFilesystems[0]?.usedBytes.value)).toBeGreaterThan(1_000_000);
    });

    test("runp gives a ready pod with an address of the CNI network", async () => {
      podId = await crictl("runp", "-r", "vmlet", podPath);
      expect(podId).toMatch(/^[0-9a-f]{64}$/);
      const { items } = (await json("pods")) as unknown as { items: { id: string; state: string }[] };
      expect(items).toEqual([expect.objectContaining({ id: podId, state: "SANDBOX_READY" })]);
      const { status } = (await json("inspectp", podId)) as unknown as { status: { network: { ip: string } } };
      expect(status.network.ip.startsWith(`${node.subnet}.`)).toBe(true);
    });

    test("create gives a created container, start a running one, and the guest answers on the pod's address", async () => {
      containerId = await crictl("create", podId, containerPath, podPath);
      expect(containerId).toMatch(/^[0-9a-f]{64}$/);
      expect(await crictl("ps", "-a", "-q", "--no-trunc", "--state", "created")).toBe(containerId);
      await crictl("start", containerId);
      expect(await crictl("ps", "-q", "--no-trunc")).toBe(containerId);
      const { status } = (await json("inspectp", podId)) as unknown as { status: { network: { ip: string } } };
      expect(await httpGet(`http://${status.network.ip}/`, suite)).toContain("web");
    });

    test("a short id is enough, and the container's status is whole", async () => {
      const { status } = (await json("inspect", containerId.slice(0, 12))) as unknown as {
        status: Record<string, never>;
      };
      expect(status).toMatchObject({ id: containerId, state: "CONTAINER_RUNNING", metadata: { name: "vm" } });
      expect(status["imageId"]).toBe(status["imageRef"]);
      expect(String(status["logPath"])).toMatch(/^\/.*\/vm\/0\.log$/);
      expect(Date.parse(String(status["startedAt"]))).toBeGreaterThan(Date.now() - 3_600_000);
    });

    test("logs show the console, also after rotation", async () => {
      await poll(
        async () => ((await crictl("logs", containerId)).includes("tiny: ready") ? true : undefined),
        { what: "log", limitMs: BOOT_LIMIT_MS },
        suite,
      );
      const { status } = (await json("inspect", containerId)) as unknown as { status: { logPath: string } };
      await rename(status.logPath, `${status.logPath}.1`);
      await node.cri.runtime.reopenContainerLog({ containerId }, suite);
      expect(await readFile(status.logPath, "utf8")).toBe("");
    });

    test("virsh shows the pod's name, and who made the domain", async () => {
      const name = await virsh(["list", "--name"], suite).then((names) =>
        names.split("\n").find((line) => line.trim().endsWith(containerId.slice(0, 12))),
      );
      expect(name?.trim()).toBe(`default_web_${containerId.slice(0, 12)}`);
      expect(await virsh(["desc", "--title", name?.trim() ?? ""], suite)).toBe("default/web: vm");
      const metadata = await virsh(["metadata", name?.trim() ?? "", "https://vmlet.dev/domain/1"], suite);
      expect(metadata).toContain(podId);
    });

    test("stop lets the guest power off, and its exit code is 0", async () => {
      await crictl("stop", "-t", "60", containerId);
      const { status } = (await json("inspect", containerId)) as unknown as { status: Record<string, never> };
      expect(status).toMatchObject({ state: "CONTAINER_EXITED", exitCode: 0, reason: "Completed" });
      expect(Date.parse(String(status["finishedAt"]))).toBeGreaterThan(Date.parse(String(status["startedAt"])));
    });

    test("rm, stopp, rmp and rmi leave nothing, and say nothing when repeated", async () => {
      await crictl("rm", containerId);
      expect(await crictl("ps", "-a", "-q")).toBe("");
      await crictl("stopp", podId);
      expect(await crictl("pods", "-q", "--state", "notready", "--no-trunc")).toBe(podId);
      await crictl("rmp", podId);
      expect(await crictl("pods", "-q")).toBe("");
      await crictl("rmi", node.tinyImage);
      expect(await crictl("images", "-q")).toBe("");
      expect(await node.leftovers(suite)).toEqual([]);
      await node.cri.runtime.stopContainer({ containerId, timeout: 0n }, suite);
      await node.cri.runtime.removeContainer({ containerId }, suite);
      await node.cri.runtime.stopPodSandbox({ podSandboxId: podId }, suite);
      await node.cri.runtime.removePodSandbox({ podSandboxId: podId }, suite);
    });
  },
);

/** crictl reads specs as JSON with the proto's own names; an int64 is a number there. */
function asJson<T>(value: T, _type: { encode(value: T): unknown }): string {
  const named = (item: unknown): unknown => {
    if (typeof item === "bigint") return Number(item);
    if (Array.isArray(item)) return item.map(named);
    if (item === null || typeof item !== "object" || Buffer.isBuffer(item)) return item;
    return Object.fromEntries(
      Object.entries(item)
        .filter(([, inner]) => inner !== undefined)
        .map(([key, inner]) => [key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), named(inner)]),
    );
  };
  return JSON.stringify(named(value));
}
