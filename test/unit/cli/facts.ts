// What a daemon may say, each with the fields that a test does not care about filled in.

import { type Image, type Machine, PullPhase, type PullProgress } from "../../../src/gen/vmlet.ts";

export const DIGEST = `sha256:${"0123456789abcdef".repeat(4)}`;
export const NAME = "vmlet.dev/https/example.org/debian.qcow2:latest";
const HOUR_MS = 3_600_000;

export const imageFact = (over: Partial<Image> = {}): Image => ({
  digest: DIGEST,
  repoTags: [NAME],
  repoDigests: [`${NAME.replace(":latest", "")}@${DIGEST}`],
  format: "qcow2",
  sizeBytes: 345_678_901n,
  virtualSizeBytes: 2_147_483_648n,
  pinned: false,
  pulledAtMs: BigInt(Date.now() - 3 * HOUR_MS),
  ...over,
});

export const pullFact = (over: Partial<PullProgress> = {}): PullProgress => ({
  pullId: "0123456789ab",
  image: NAME,
  phase: PullPhase.PULL_PHASE_RECEIVING,
  startedAtMs: BigInt(Date.now() - 10_000),
  receivedBytes: 25_000_000n,
  totalBytes: 100_000_000n,
  bytesPerSecond: 2_500_000n,
  waiters: ["cri"],
  ...over,
});

export const machineFact = (over: Partial<Machine> = {}): Machine => ({
  machineId: "ab".repeat(32),
  podId: "cd".repeat(32),
  podNamespace: "default",
  podName: "web",
  name: "vm",
  state: "running",
  ips: ["10.1.2.3", "fd00::3"],
  domainName: "default_web_abababababab",
  image: NAME,
  createdAtMs: BigInt(Date.now() - 5 * 60_000),
  startedAtMs: BigInt(Date.now() - 5 * 60_000),
  finishedAtMs: undefined,
  exitCode: undefined,
  condition: "",
  ...over,
});
