// What every PodStore must do. `restarted` is the same store as the next process would open it.

import { expect, test } from "vitest";
import { failsWith } from "../../src/model/failure.ts";
import { type ImageDigest, type MachineId, newMachineId, newPodId, type PodId } from "../../src/model/ids.ts";
import type { MachineState } from "../../src/model/machine.ts";
import type { PodState } from "../../src/model/pod.ts";
import type { MachineRecord, PodRecord, PodStore } from "../../src/ports/pod-store.ts";

export interface StoreUnderTest {
  readonly store: PodStore;
  readonly restarted: () => Promise<PodStore>;
}

const never = new AbortController().signal;

const attachment = {
  network: "pods",
  interfaceName: "eth0",
  mac: "02:00:00:00:00:01",
  mtu: 1500,
  addresses: [
    { address: "10.1.0.2", prefixLength: 24, gateway: "10.1.0.1", family: 4 },
    { address: "fd00::2", prefixLength: 64, family: 6 },
  ],
  routes: [{ destination: "0.0.0.0/0", gateway: "10.1.0.1", mtu: 1400 }, { destination: "10.2.0.0/16" }],
} as const;

const podStates: readonly PodState[] = [
  { at: "intended" },
  { at: "ready", attachment },
  { at: "stopping" },
  { at: "stopping", attachment, error: "plugin bridge: exit 1" },
  { at: "stopped", stoppedAtMs: 1_700_000_000_123 },
];

const machineStates: readonly MachineState[] = [
  { at: "intended" },
  { at: "created" },
  { at: "starting" },
  { at: "running", startedAtMs: 5 },
  { at: "stopping", startedAtMs: 5, killAtMs: 9 },
  { at: "exited", exit: { finishedAtMs: 7, exitCode: 255, reason: "Error", message: "QEMU crashed" } },
  { at: "exited", startedAtMs: 5, exit: { finishedAtMs: 7, exitCode: 0, reason: "Completed", message: "" } },
];

export function podRecord(podId: PodId = newPodId(), state: PodState = { at: "intended" }): PodRecord {
  return {
    facts: {
      podId,
      createdAtMs: 1_700_000_000_000,
      netnsPath: `/run/netns/vmlet-${podId.slice(0, 12)}`,
      spec: {
        name: "web",
        namespace: "default",
        uid: "6f1c",
        attempt: 2,
        hostname: "web",
        logFolderPath: "/var/log/pods/default_web_6f1c",
        dns: { servers: ["10.96.0.10"], searches: ["svc.cluster.local"], options: ["ndots:5"] },
        portMappings: [{ protocol: "tcp", containerPort: 80, hostPort: 8080, hostIp: "" }],
        labels: { "": "empty key", "io.kubernetes.pod.name": "web", constructor: "c" },
        annotations: { note: 'line\nbreak "quoted" \u0000 \ud800 ü' },
        runtimeHandler: "vmlet",
        cgroupParent: "/kubepods/burstable/pod6f1c",
        pidMode: "container",
        sysctls: { "net/ipv4/ip_forward": "1" },
        overhead: { memoryLimitBytes: 1 << 27 },
      },
    },
    state,
  };
}

export function machineRecord(
  podId: PodId,
  machineId: MachineId = newMachineId(),
  state: MachineState = { at: "intended" },
): MachineRecord {
  return {
    facts: {
      machineId,
      podId,
      imageDigest: `sha256:${"a".repeat(64)}` as ImageDigest,
      createdAtMs: 1_700_000_000_001,
      domainName: "default_web_0123456789ab",
      notices: ["mount /data: not supported"],
      spec: {
        name: "vm",
        attempt: 0,
        image: `sha256:${"a".repeat(64)}`,
        userImage: "vmlet.dev/https/example.org/a.qcow2",
        command: ["/bin/sh"],
        args: ["-c", "exit 3"],
        workingDir: "",
        env: [{ name: "A", valueBase64: "AP8=" }],
        mounts: [{ containerPath: "/etc/hosts", hostPath: "/var/lib/kubelet/x", isReadOnly: false }],
        labels: {},
        annotations: {},
        logPath: "/var/log/pods/default_web_6f1c/vm/0.log",
        resources: { cpuShares: 2, cpuQuotaUs: -1, cpusetCpus: "0-1" },
        stopSignal: 15,
      },
    },
    state,
  };
}

export function podStoreContract(name: string, make: () => Promise<StoreUnderTest>): void {
  test(`${name}: is empty at first`, async () => {
    const { store } = await make();
    expect(await store.load(never)).toEqual({ pods: [], machines: [], broken: [] });
  });

  test(`${name}: gives every state of a pod and of a machine back after a restart, unchanged`, async () => {
    const { store, restarted } = await make();
    for (const state of podStates) {
      const pod = podRecord(newPodId());
      await store.addPod(pod);
      await store.savePodState(pod.facts.podId, state);
      const { pods } = await (await restarted()).load(never);
      expect(pods).toContainEqual({ ...pod, state });
    }
    const [owner] = (await store.load(never)).pods;
    if (owner === undefined) throw new Error("no pod");
    for (const state of machineStates) {
      const machine = machineRecord(owner.facts.podId);
      await store.addMachine(machine);
      await store.saveMachineState(owner.facts.podId, machine.facts.machineId, state);
      expect((await (await restarted()).load(never)).machines).toContainEqual({ ...machine, state });
    }
  });

  test(`${name}: gives resources that were changed back after a restart, and the state beside them`, async () => {
    const { store, restarted } = await make();
    const pod = podRecord();
    const machine = machineRecord(pod.facts.podId);
    const { machineId } = machine.facts;
    const resources = { cpuShares: 512, cpuQuotaUs: -1 };
    await store.addPod(pod);
    await expect(store.saveMachineResources(pod.facts.podId, machineId, resources)).rejects.toSatisfy((error) =>
      failsWith(error, "MACHINE_NOT_FOUND"),
    );
    await store.addMachine(machine);
    await store.saveMachineResources(pod.facts.podId, machineId, resources);
    await store.saveMachineState(pod.facts.podId, machineId, { at: "created" });
    const { machines } = await (await restarted()).load(never);
    expect(machines).toEqual([{ ...machine, state: { at: "created" }, resources }]);
  });

  test(`${name}: keeps what it was given even if the giver changes its object`, async () => {
    const { store } = await make();
    const pod = podRecord();
    const mine = structuredClone(pod);
    await store.addPod(mine);
    Object.assign(mine.facts, { netnsPath: "/changed" });
    expect((await store.load(never)).pods).toEqual([pod]);
  });

  test(`${name}: removes a pod with its machines, a machine alone, and what is not there without complaint`, async () => {
    const { store, restarted } = await make();
    const [gone, stays] = [podRecord(), podRecord()];
    await store.addPod(gone);
    await store.addPod(stays);
    const [first, second] = [machineRecord(stays.facts.podId), machineRecord(stays.facts.podId)];
    await store.addMachine(machineRecord(gone.facts.podId));
    await store.addMachine(first);
    await store.addMachine(second);
    await store.removeMachine(stays.facts.podId, first.facts.machineId);
    await store.removeMachine(stays.facts.podId, first.facts.machineId);
    await store.removePod(gone.facts.podId);
    await store.removePod(gone.facts.podId);
    const after = await (await restarted()).load(never);
    expect(after).toEqual({ pods: [stays], machines: [second], broken: [] });
  });

  test(`${name}: refuses to save the state of what is not there, and to add what is`, async () => {
    const { store } = await make();
    const pod = podRecord();
    await expect(store.savePodState(pod.facts.podId, { at: "stopping" })).rejects.toSatisfy((error) =>
      failsWith(error, "POD_NOT_FOUND"),
    );
    const machine = machineRecord(pod.facts.podId);
    await expect(store.addMachine(machine)).rejects.toSatisfy((error) => failsWith(error, "POD_NOT_FOUND"));
    await store.addPod(pod);
    await expect(store.saveMachineState(pod.facts.podId, machine.facts.machineId, { at: "created" })).rejects.toSatisfy(
      (error) => failsWith(error, "MACHINE_NOT_FOUND"),
    );
    await store.addMachine(machine);
    await expect(store.addPod(pod)).rejects.toSatisfy((error) => failsWith(error, "NAME_TAKEN"));
    await expect(store.addMachine(machine)).rejects.toSatisfy((error) => failsWith(error, "NAME_TAKEN"));
    expect(await store.load(never)).toEqual({ pods: [pod], machines: [machine], broken: [] });
  });

  test(`${name}: names different files for different machines, the sockets by short names`, async () => {
    const { store } = await make();
    const podId = newPodId();
    const [a, b] = [store.pathsOf(podId, newMachineId()), store.pathsOf(podId, newMachineId())];
    const all = [...Object.values(a), ...Object.values(b)];
    expect(new Set(all).size).toBe(all.length);
    for (const path of [a.vncSocketPath, a.sshSocketPath, a.consoleSocketPath])
      expect(Buffer.byteLength(path)).toBeLessThanOrEqual(107);
  });
}
