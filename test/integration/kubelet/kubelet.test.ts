// vmlet behind a real kubelet, which stands alone: VM pods from manifests, with probes, logs, exec and port-forward by the
// kubelet's own API. `KUBELET=/path make e2e`, or the one that `make kubelet` builds.

import { existsSync } from "node:fs";
import { readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { output } from "../../node/command.ts";
import { type Kubelet, NODE_NAME, startKubelet } from "../../node/kubelet.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { qemuPid } from "../e2e/qemu-process.ts";
import { BOOT_LIMIT_MS } from "../e2e/vm-pod.ts";
import { KubeletApi, type KubeletPod } from "./kubelet-api.ts";

const programPath = process.env["KUBELET"] ?? join(REPO_PATH, ".cache/bin/kubelet");
const why = existsSync(programPath)
  ? undefined
  : `skipped: no kubelet at ${programPath}: make kubelet, or KUBELET=/path`;
const LIMIT_MS = 2 * BOOT_LIMIT_MS;

describe.skipIf(why !== undefined)(`behind a kubelet${why ? ` (${why})` : ""}`, () => {
  const suite = AbortSignal.timeout(8 * LIMIT_MS);
  const stack = new AsyncDisposableStack();
  let node: TestNode;
  let kubelet: Kubelet;
  let api: KubeletApi;

  beforeAll(async () => {
    node = stack.use(await startTestNode({}, suite));
    const port = 20_000 + (process.pid % 10_000);
    kubelet = stack.use(
      await startKubelet(node.layout, { programPath, port, runtimeSocketPath: node.layout.socketPath }, suite),
    );
    api = new KubeletApi(kubelet);
    console.log((await output([programPath, "--version"], suite)).trim());
  }, LIMIT_MS);
  afterAll(async () => await stack.disposeAsync(), LIMIT_MS);

  const resources = { requests: { cpu: "500m" }, limits: { memory: "256Mi", cpu: "1" } };
  const manifestPath = (name: string): string => join(kubelet.manifestFolderPath, `${name}.yaml`);
  async function run(name: string, spec: Record<string, unknown>): Promise<void> {
    const metadata = { name, namespace: "default" };
    await writeFile(manifestPath(name), stringify({ apiVersion: "v1", kind: "Pod", metadata, spec }));
  }

  /** Whatever fails, the kubelet's log says more. */
  async function until(
    what: string,
    isSo: (pod: KubeletPod | undefined) => boolean,
    name = "web",
  ): Promise<KubeletPod | undefined> {
    let last: KubeletPod | undefined;
    try {
      const found = await poll(
        async () => {
          last = await api.pod(name);
          return isSo(last) ? { pod: last } : undefined;
        },
        { what, limitMs: LIMIT_MS, everyMs: 250 },
        suite,
      );
      return found.pod;
    } catch (error) {
      const log = (await readFile(kubelet.logPath, "utf8"))
        .split("\n")
        .filter((line) => /^[EW]/.test(line) || line.includes(name));
      throw new Error(`${what}; the pod: ${JSON.stringify(last?.status)}\n${log.slice(-30).join("\n")}`, {
        cause: error,
      });
    }
  }

  const isReady = (pod: KubeletPod | undefined): boolean =>
    pod?.status.conditions.some(({ type, status }) => type === "Ready" && status === "True") === true;
  const sh = async (script: string): Promise<string> => {
    const { stdout, status } = await api.exec("web", "vm", ["sh", "-c", script]);
    expect(status).toMatchObject({ status: "Success" });
    return stdout;
  };

  test("a manifest becomes a running VM pod, ready when its probes say so", { timeout: LIMIT_MS }, async () => {
    const probe = (flag: string) => ({
      exec: { command: ["test", "!", "-e", `/tmp/${flag}`] },
      periodSeconds: 2,
      timeoutSeconds: 30,
    });
    const container = {
      name: "vm",
      image: node.tinyImage,
      imagePullPolicy: "IfNotPresent",
      resources,
      startupProbe: { httpGet: { port: 80 }, periodSeconds: 1, failureThreshold: LIMIT_MS / 1_000 },
      readinessProbe: probe("not-ready"),
      livenessProbe: { ...probe("dead"), failureThreshold: 1 },
    };
    const command = ["sh", "-c", "echo initialised"];
    const initContainers = [{ name: "first", image: node.tinyImage, resources, command }];
    await run("web", { initContainers, containers: [container], terminationGracePeriodSeconds: 60 });
    const pod = await until("a pod that is ready", isReady);
    expect(pod?.status).toMatchObject({
      phase: "Running",
      podIP: expect.stringMatching(new RegExp(`^${node.subnet.replaceAll(".", "\\.")}\\.`)),
      containerStatuses: [
        {
          ready: true,
          started: true,
          restartCount: 0,
          containerID: expect.stringMatching(/^vmlet:/),
          image: node.tinyImage,
        },
      ],
      initContainerStatuses: [{ ready: true, restartCount: 0, state: { terminated: { exitCode: 0 } } }],
    });
  });

  test("its machine is in the cgroup that the kubelet made for the pod, and counted there", async () => {
    const pod = await until("a pod", (found) => found !== undefined);
    const containerId = pod?.status.containerStatuses?.[0]?.containerID?.replace("vmlet://", "") ?? "";
    const cgroups = (await readFile(`/proc/${await qemuPid(containerId)}/cgroup`, "utf8")).split("\n");
    expect(cgroups).toContainEqual(
      expect.stringMatching(/^\d+:(memory)?:\/.*\/kubepods\/burstable\/pod[0-9a-f-]+\/vmlet-machine$/),
    );
  });

  test("logs are those of the console", async () => {
    const log = await api.logs("web", "vm");
    expect(log).toContain("tiny: ready");
    expect((await api.logs("web", "vm", "?tailLines=1")).trimEnd().split("\n")).toHaveLength(1);
    expect(await api.logs("web", "first")).toContain("initialised");
    const links = await readdir("/var/log/containers"); // what log collectors read
    expect(links.filter((name) => name.startsWith(`web-${NODE_NAME}_default_`))).toHaveLength(2);
  });

  test("exec runs in the guest, with stdin, and tells how it ended", async () => {
    expect(await sh("uname -s")).toBe("Linux\n");
    expect((await api.exec("web", "vm", ["cat"], "from outside")).stdout).toBe("from outside");
    const failed = await api.exec("web", "vm", ["sh", "-c", "echo why >&2; exit 7"]);
    expect(failed).toMatchObject({ stderr: "why\n", status: { status: "Failure", reason: "NonZeroExitCode" } });
  });

  test("port-forward reaches the guest's server", async () => {
    const answer = await api.portForward("web", 80, "GET / HTTP/1.0\r\n\r\n");
    expect(answer).toMatch(/^HTTP\/1\.\d 200 /);
  });

  test("the kubelet's own summary has the pod's figures", { timeout: LIMIT_MS }, async () => {
    const pods = await poll(
      async () => {
        const summary = JSON.parse(await api.get("/stats/summary")) as {
          pods?: { memory?: { workingSetBytes?: number } }[];
        };
        return summary.pods?.[0]?.memory?.workingSetBytes ? summary.pods : undefined;
      },
      { what: "figures", limitMs: 60_000, everyMs: 1_000 },
      suite,
    );
    expect(pods).toMatchObject([
      {
        podRef: { namespace: "default" },
        containers: [{ name: "vm", cpu: { usageCoreNanoSeconds: expect.any(Number) } }],
        network: { name: "eth0" },
      },
    ]);
  });

  test("a readiness probe that fails takes the pod out, and back", { timeout: LIMIT_MS }, async () => {
    await sh("touch /tmp/not-ready");
    await until("a pod that is not ready", (pod) => pod !== undefined && !isReady(pod));
    await sh("rm /tmp/not-ready");
    await until("a pod that is ready again", isReady);
  });

  test("a liveness probe that fails has the machine made anew, in the same pod", { timeout: LIMIT_MS }, async () => {
    const before = await until("it", isReady);
    await sh("echo said by the first >/dev/console; touch /tmp/dead");
    const pod = await until(
      "a machine anew",
      (one) => one?.status.containerStatuses[0]?.restartCount === 1 && isReady(one),
    );
    expect(pod?.status.podIP).toBe(before?.status.podIP);
    expect(pod?.status.containerStatuses[0]?.containerID).not.toBe(before?.status.containerStatuses[0]?.containerID);
    expect(await sh("ls /tmp")).not.toContain("dead");
    expect(pod?.status.containerStatuses[0]?.lastState?.terminated).toMatchObject({ exitCode: 0, reason: "Completed" });
    expect(pod?.status.initContainerStatuses).toMatchObject([{ restartCount: 0 }]);
    expect(await api.logs("web", "vm")).not.toContain("said by the first");
    expect(await api.logs("web", "vm", "?previous=true")).toContain("said by the first");
  });

  test("vmlet restarts, and the pod is not touched", { timeout: LIMIT_MS }, async () => {
    const before = await until("it", isReady);
    await node.kill(suite);
    await node.start(suite);
    await poll(() => sh("true"), { what: "an exec", limitMs: 60_000 }, suite); // the kubelet dials anew within seconds
    const pod = await until("a pod that is ready", isReady);
    expect(pod?.status.containerStatuses).toMatchObject([{ restartCount: 1 }]);
    expect(pod?.status.containerStatuses[0]?.containerID).toBe(before?.status.containerStatuses[0]?.containerID);
  });

  test("the kubelet restarts, and the pod is not touched", { timeout: LIMIT_MS }, async () => {
    const before = await until("it", isReady);
    await kubelet.restart(suite);
    const pod = await until("a pod that is ready", isReady);
    expect(pod?.status.containerStatuses).toMatchObject([{ restartCount: 1 }]);
    expect(pod?.status.containerStatuses[0]?.containerID).toBe(before?.status.containerStatuses[0]?.containerID);
  });

  test("a pod that is done stays done, and is what its command was", { timeout: LIMIT_MS }, async () => {
    const command = ["sh", "-c", "echo at work; exit 3"];
    const containers = [{ name: "vm", image: node.tinyImage, resources, command }];
    await run("job", { restartPolicy: "Never", containers });
    const pod = await until("a pod that failed", (one) => one?.status.phase === "Failed", "job");
    expect(pod?.status.containerStatuses).toMatchObject([
      { restartCount: 0, state: { terminated: { exitCode: 3, reason: "Error" } } },
    ]);
    expect(await api.logs("job", "vm")).toContain("at work");
    await rm(manifestPath("job"));
    await until("no pod", (one) => one === undefined, "job");
  });

  test("without its manifest the pod goes, and leaves nothing", { timeout: LIMIT_MS }, async () => {
    await rm(manifestPath("web"));
    await until("no pod", (pod) => pod === undefined);
    await poll(
      async () => {
        // The kubelet collects what is dead by itself, later.
        const { items } = await node.cri.runtime.listPodSandbox({ filter: undefined }, suite);
        return items.every(({ state }) => state === 1) || undefined;
      },
      { what: "no pod that is ready", limitMs: LIMIT_MS },
      suite,
    );
    const { items } = await node.cri.runtime.listPodSandbox({ filter: undefined }, suite);
    for (const { id: podSandboxId } of items) await node.cri.runtime.removePodSandbox({ podSandboxId }, suite);
    expect(await node.leftovers(suite)).toEqual([]);
  });
});
