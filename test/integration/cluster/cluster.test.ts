// A cluster from its first command to its last: API server, scheduler and kubelet, and the chart installed, used, upgraded and
// removed as docs/install.md and the chart's notes say. `make cluster` builds the programs.

import { existsSync } from "node:fs";
import { readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { copyCheckout } from "../../node/checkout.ts";
import { output } from "../../node/command.ts";
import { CONTAINER_IMAGE } from "../../node/containerd.ts";
import { imageNameOf } from "../../node/image-server.ts";
import { lendKernel } from "../../node/kubelet.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { startControlPlane } from "./control-plane.ts";
import { Kubectl } from "./kubectl.ts";
import { NODE_NAME, type Node, startNode } from "./node.ts";
import { Room } from "./room.ts";

const PROGRAMS = join(REPO_PATH, ".cache/bin");
const why = existsSync(join(PROGRAMS, "helm")) ? undefined : "skipped: make cluster has not built its programs";
const IMAGES_PORT = 8080;
const TINY_IMAGE = imageNameOf(IMAGES_PORT, "tiny.qcow2");
const NAMESPACE = "vmlet-system";
const LIMIT_MS = 10 * 60_000;

describe.skipIf(why !== undefined)(`a cluster${why ? ` (${why})` : ""}`, { timeout: LIMIT_MS }, () => {
  const suite = AbortSignal.timeout(4 * LIMIT_MS);
  const stack = new AsyncDisposableStack();
  let room: Room;
  let node: Node;
  let kubectl: Kubectl;

  beforeAll(async () => {
    const name = `vmlet-room-${process.pid}`;
    stack.use(await lendKernel(`/${name}`));
    room = stack.use(await Room.open(join("/var/tmp", name), suite));
    const images = [await buildImage("0.1.0"), await buildImage("0.1.1")];
    const { kubeconfigPath } = await startControlPlane(room, PROGRAMS, suite);
    kubectl = new Kubectl(room, join(PROGRAMS, "kubectl"), kubeconfigPath, suite);
    const kubeletPath = join(PROGRAMS, "kubelet");
    node = await startNode(room, { kubeletPath, kubeconfigPath, cgroupRoot: `/${name}`, images }, suite);
    const server = join(REPO_PATH, "test/node/image-server.ts");
    room.start("images", [process.execPath, server, join(REPO_PATH, ".cache/guests"), String(IMAGES_PORT)]);
    await kubectl.until("a node", async () => (await kubectl.run("get", "node", NODE_NAME)).includes(" Ready"));
  }, LIMIT_MS);
  afterAll(async () => await stack.disposeAsync(), LIMIT_MS);

  /** An archive of the chart's image, of this checkout as that version. */
  async function buildImage(version: string): Promise<string> {
    const [copy, archive] = [join(room.folderPath, `checkout-${version}`), join(room.folderPath, `${version}.tar`)];
    await copyCheckout(copy, version);
    await output([join(copy, "packaging/image/build"), archive, `docker.io/library/vmlet:${version}`], suite);
    await rm(copy, { recursive: true });
    return archive;
  }

  async function helm(verb: string, ...args: string[]): Promise<string> {
    const to = ["--kubeconfig", kubectl.kubeconfigPath, "--namespace", NAMESPACE];
    return await kubectl.explained(
      async () => await room.output([join(PROGRAMS, "helm"), verb, "vmlet", ...args, ...to], suite),
    );
  }

  function chart(tag: string): string[] {
    const values = {
      "image.repository": "docker.io/library/vmlet",
      "image.tag": tag,
      "router.mode": "none", // no systemd in here
      "config.images.allowHttp": true,
      "test.image": TINY_IMAGE,
    };
    const set = Object.entries(values).flatMap(([key, value]) => ["--set", `${key}=${value}`]);
    return [join(REPO_PATH, "charts/vmlet"), ...set];
  }

  const inMachine = async (...command: string[]): Promise<string> =>
    await kubectl.run("exec", "deployment/machine", "--", ...command);
  const inVmlet = async (...command: string[]): Promise<string> =>
    await kubectl.run("-n", NAMESPACE, "exec", "daemonset/vmlet", "--", "vmlet", ...command);

  test("helm install: on a node with the label the DaemonSet becomes ready, and doctor finds nothing bad", async () => {
    await kubectl.run("create", "namespace", NAMESPACE);
    await kubectl.run("label", "namespace", NAMESPACE, "pod-security.kubernetes.io/enforce=privileged");
    expect(await helm("install", ...chart("0.1.0"))).toContain("kubectl label node NODE vmlet.dev/node=true");
    await kubectl.run("label", "node", NODE_NAME, "vmlet.dev/node=true");
    await kubectl.rolledOut("daemonset/vmlet", "-n", NAMESPACE);
    expect((await inVmlet("doctor")).split("\n").filter((line) => line.startsWith("BAD"))).toEqual([]);
  });

  test("a machine and a container, each a Deployment, run side by side and reach each other", async () => {
    const web = ["/bin/httpd", "-f", "-p", "80", "-h", "/bin"];
    await kubectl.apply(
      deployment("machine", { runtimeClassName: "vmlet" }, { image: TINY_IMAGE }),
      deployment("container", {}, { image: CONTAINER_IMAGE, command: web }),
    );
    for (const name of ["container", "machine"]) await kubectl.rolledOut(`deployment/${name}`);
    const [pod] = await kubectl.podsOf("machine");
    expect(await kubectl.run("logs", "deployment/machine")).toContain(`tiny: ready ${pod?.metadata.name}`);
    expect(await inMachine("uname", "-n")).toBe(`${pod?.metadata.name}\n`);
    const fetch = ["wget", "-qO-", `http://${pod?.status.podIP}/`];
    expect(await kubectl.run("exec", "deployment/container", "--", ...fetch)).not.toBe("");
    expect(await inVmlet("ps")).toContain(pod?.metadata.name);
  });

  test("kubectl cp and port-forward reach the machine, and the node's summary has its figures", async () => {
    const [pod] = await kubectl.podsOf("machine");
    const name = pod?.metadata.name ?? "";
    const path = join(room.folderPath, "copied");
    await writeFile(path, "carried\n");
    await kubectl.run("cp", path, `${name}:/tmp/copied`);
    expect(await inMachine("cat", "/tmp/copied")).toBe("carried\n");
    room.start("port-forward", kubectl.argv("port-forward", "deployment/machine", "8081:80"));
    const fetch = async () => await room.output(["/usr/bin/curl", "-sf", "http://127.0.0.1:8081/"], suite);
    await kubectl.until("an answer through port-forward", fetch);
    await room.kill("port-forward", suite);
    await kubectl.until("the machine's memory", async () => (await kubectl.workingSetBytes(NODE_NAME, name)) > 0);
  });

  test("a machine that is resized in place has other CPU shares, and was not started again", async () => {
    const [pod] = await kubectl.podsOf("machine");
    const patch = JSON.stringify({
      spec: { containers: [{ name: "main", resources: { requests: { cpu: "300m" } } }] },
    });
    await kubectl.run("patch", "pod", pod?.metadata.name ?? "", "--subresource", "resize", "--patch", patch);
    await kubectl.until("a machine with other shares", async () => {
      const [status] = (await kubectl.podsOf("machine"))[0]?.status.containerStatuses ?? [];
      return status?.resources?.requests?.["cpu"] === "300m" && status.restartCount === 0;
    });
  });

  test("kubelet, router and containerd are killed: neither pod is started again", async () => {
    const pods = async () => [...(await kubectl.podsOf("machine")), ...(await kubectl.podsOf("container"))];
    const before = await pods();
    for (const name of ["kubelet", "router", "containerd"] as const) await node.restart(name);
    await kubectl.until("an exec in the machine", async () => await inMachine("echo", "here"));
    const inContainer = async () => await kubectl.run("exec", "deployment/container", "--", "echo", "here");
    await kubectl.until("an exec in the container", inContainer);
    expect(await pods()).toEqual(before);
  });

  test("helm test: a machine runs a command, and its end is the pod's", async () => {
    const said = await helm("test", "--logs", "--timeout", "5m");
    expect(said).toMatch(/Phase: +Succeeded/);
    expect(said).toContain("this is a machine: Linux");
  });

  test("helm upgrade to a newer image: the machine goes on, and answers", async () => {
    const boot = ["cat", "/proc/sys/kernel/random/boot_id"];
    const before = await inMachine(...boot);
    await helm("upgrade", ...chart("0.1.1"));
    await kubectl.rolledOut("daemonset/vmlet", "-n", NAMESPACE);
    expect(await inVmlet("version")).toContain("0.1.1");
    expect(await inMachine(...boot)).toBe(before);
    expect(await kubectl.podsOf("machine")).toMatchObject([{ status: { containerStatuses: [{ restartCount: 0 }] } }]);
  });

  test("a machine that is deleted is made anew; without their Deployments nothing of them is left", async () => {
    await kubectl.run("delete", "pod", "-l", "app=machine");
    await kubectl.rolledOut("deployment/machine");
    await kubectl.run("delete", "deployment", "--all");
    await kubectl.until("no pods", async () => (await kubectl.run("get", "pods", "-o", "name")) === "");
    const left = "find /run/netns /var/lib/vmlet/pods -mindepth 1; pgrep -l 'qemu-system|dnsmasq'; true";
    // The kubelet collects what is dead a minute later.
    await kubectl.until("nothing left", async () => (await room.output(["/bin/sh", "-c", left], suite)) === "");
    await helm("uninstall", "--wait");
    expect(await readFile(room.logPathOf("kubelet"), "utf8")).not.toContain("Unknown runtime handler");
  });
});

function deployment(name: string, podSpec: object, container: object): unknown {
  const labels = { app: name };
  const main = {
    name: "main",
    imagePullPolicy: "IfNotPresent",
    resources: { requests: { cpu: "500m" }, limits: { memory: "256Mi" } },
    readinessProbe: { tcpSocket: { port: 80 } },
    ...container,
  };
  const spec = { ...podSpec, terminationGracePeriodSeconds: 5, containers: [main] };
  return {
    apiVersion: "apps/v1",
    kind: "Deployment",
    metadata: { name },
    spec: { replicas: 1, selector: { matchLabels: labels }, template: { metadata: { labels }, spec } },
  };
}
