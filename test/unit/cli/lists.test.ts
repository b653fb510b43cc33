import { status } from "@grpc/grpc-js";
import { expect, test } from "vitest";
import { PullPhase } from "../../../src/gen/vmlet.ts";
import { FakeVmletServer } from "../../fakes/vmlet-server.ts";
import { DIGEST, imageFact, machineFact, NAME, pullFact } from "./facts.ts";
import { runCli } from "./run.ts";

const lines = (text: string): string[] => text.split("\n").slice(0, -1);

test("images: a row a name, in order, with sizes, age and short digest", async () => {
  await using daemon = await FakeVmletServer.listen();
  daemon.images = [
    imageFact({ repoTags: [NAME, "quay.io:443/vms/a:1"], pinned: true }),
    imageFact({ digest: `sha256:${"f".repeat(64)}`, repoTags: [], sizeBytes: 1_000n }),
  ];
  const { stdout, error } = await runCli(["images", "--socket", daemon.socketPath]);
  expect(error).toBeUndefined();
  const [heads = "", ...rows] = lines(stdout);
  expect(heads).toBe(
    "IMAGE                                      TAG      IMAGE ID       SIZE     VIRTUAL SIZE   PINNED   PULLED",
  );
  expect(rows.map((row) => row.split(/ {3,}/))).toEqual([
    ["quay.io:443/vms/a", "1", "0123456789ab", "346 MB", "2.15 GB", "yes", "3h ago"],
    [NAME.slice(0, -":latest".length), "<none>", "ffffffffffff", "1 kB", "2.15 GB", "no", "3h ago"],
    [NAME.slice(0, -":latest".length), "latest", "0123456789ab", "346 MB", "2.15 GB", "yes", "3h ago"],
  ]);
  expect(rows[0]?.indexOf("0123456789ab")).toBe(heads.indexOf("IMAGE ID"));
});

test("images: pulls under way stand below, the kubelet's too", async () => {
  await using daemon = await FakeVmletServer.listen();
  daemon.pulls = [
    pullFact({ waiters: ["cri", "vmlet"] }),
    pullFact({ image: "b:1", phase: PullPhase.PULL_PHASE_ASKING, receivedBytes: 0n, totalBytes: undefined }),
    pullFact({ image: "c:1", phase: PullPhase.PULL_PHASE_WAITING, receivedBytes: 0n, totalBytes: undefined }),
  ];
  const { stdout } = await runCli(["images", "--socket", daemon.socketPath]);
  const [, , heads = "", one = "", two = "", three = ""] = stdout.split("\n");
  expect(heads.split(/ {3,}/)).toEqual(["PULLING", "STATE", "RECEIVED", "RATE", "LEFT", "STARTED", "WAITING"]);
  expect(one.split(/ {3,}/)).toEqual([
    NAME,
    "receiving",
    "25 MB of 100 MB (25 %)",
    "2.5 MB/s",
    "30s",
    "10s ago",
    "cri, vmlet",
  ]);
  expect(two.split(/ {3,}/)).toEqual(["b:1", "asking", "0 B", "10s ago", "cri"]);
  expect(three.split(/ {3,}/)).toEqual(["c:1", "waiting", "0 B", "10s ago", "cri"]);
});

test("images: --json, --quiet and --no-trunc", async () => {
  await using daemon = await FakeVmletServer.listen();
  daemon.images = [imageFact()];
  daemon.pulls = [pullFact()];
  const run = async (...argv: string[]) => (await runCli(["images", "--socket", daemon.socketPath, ...argv])).stdout;
  expect(JSON.parse(await run("--json"))).toMatchObject({
    images: [{ digest: DIGEST, repoTags: [NAME], sizeBytes: 345_678_901, format: "qcow2" }],
    pulls: [{ image: NAME, receivedBytes: 25_000_000, totalBytes: 100_000_000, phase: "receiving", waiters: ["cri"] }],
  });
  expect(await run("-q")).toBe("0123456789ab\n");
  expect(await run("-q", "--no-trunc")).toBe(`${DIGEST}\n`);
  expect(await run("--no-trunc")).toContain(` ${DIGEST} `);
});

test("ps: machines that live, the youngest first; with --all the exited ones and their exit codes", async () => {
  await using daemon = await FakeVmletServer.listen();
  daemon.machines = [
    machineFact({ createdAtMs: 1n, podName: "old", condition: "the VM is paused" }),
    machineFact({ machineId: "ef".repeat(32), state: "exited", exitCode: 137, ips: [] }),
  ];
  const run = async (...argv: string[]) => (await runCli(["ps", "--socket", daemon.socketPath, ...argv])).stdout;
  const [heads = "", ...rows] = lines(await run("--all")).map((line) => line.split(/ {3,}/));
  expect(heads).toEqual(["ID", "POD", "NAMESPACE", "CONTAINER", "STATE", "IP", "DOMAIN", "AGE"]);
  expect(rows).toEqual([
    ["efefefefefef", "web", "default", "vm", "exited (137)", "default_web_abababababab", "5m"],
    [
      "abababababab",
      "old",
      "default",
      "vm",
      "running: the VM is paused",
      "10.1.2.3",
      "default_web_abababababab",
      expect.stringMatching(/^\d+d$/),
    ],
  ]);
  expect(await run("-q")).toBe("abababababab\n");
  expect(JSON.parse(await run("--json"))).toMatchObject([{ podName: "old", ips: ["10.1.2.3", "fd00::3"] }]);
});

test("nothing is printed that a terminal would obey, whatever names there are", async () => {
  await using daemon = await FakeVmletServer.listen();
  const evil = "a\u001b[2J\u009b\n\u202eb:1";
  daemon.images = [imageFact({ repoTags: [evil], format: evil, digest: `sha256:${evil}` })];
  daemon.pulls = [pullFact({ image: evil, waiters: [evil] })];
  daemon.machines = [machineFact({ podName: evil, condition: evil, domainName: evil })];
  for (const argv of [["images"], ["images", "--json"], ["images", "-q"], ["ps"], ["ps", "--json"]]) {
    const { stdout } = await runCli([...argv, "--socket", daemon.socketPath]);
    expect(stdout.replaceAll("\n", ""), argv.join(" ")).not.toMatch(/\p{Cc}|\u202e/u);
    expect(stdout, argv.join(" ")).toContain("\\u001b[2J");
  }
});

test("no daemon, and a daemon that refuses, are one line", async () => {
  await using daemon = await FakeVmletServer.listen();
  daemon.failure = { code: status.UNAVAILABLE, details: "libvirtd: \u001b[31mgone\nfor long" };
  const refused = await runCli(["ps", "--socket", daemon.socketPath]);
  expect(refused.error).toMatchObject({
    name: "CliFailure",
    message: "libvirtd: \\u001b[31mgone\\nfor long (UNAVAILABLE)",
  });
  const absent = await runCli(["images", "--socket", "/nonexistent/vmlet.sock"]);
  expect(absent.error).toMatchObject({
    message: expect.stringMatching(/^no daemon on \/nonexistent\/vmlet.sock: there is no/),
  });
  const older = await runCli(["version", "--socket", daemon.socketPath]); // this fake has no CRI
  expect(older).toMatchObject({ stdout: "vmlet    1.2.3\n", error: { code: "UNIMPLEMENTED" } });
});
