// The header inspector beside the real qemu-img: same format and size where it accepts, refusal where it must.

import { mkdtemp, open, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { HEAD_BYTES, inspect, TAIL_BYTES, type Verdict } from "../../../src/images/inspector.ts";
import { run } from "../../../src/lib/spawn.ts";
import { type Qcow2Fields, qcow2, raw } from "../../fakes/disk-image.ts";
import { poll } from "../../node/poll.ts";

const signal = AbortSignal.timeout(120_000);
const limits = { maxVirtualSizeBytes: 2 * 1024 ** 4, requireBootSignature: false, allowSnapshots: false };
let folder = "";

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-agree-"));
});
afterAll(async () => rm(folder, { recursive: true, force: true }));

async function qemuImg(...args: readonly string[]): Promise<string> {
  const done = await run("qemu-img", args, { cwd: folder }, signal);
  if (done.exitCode !== 0) throw new Error(`qemu-img ${args.join(" ")}: ${done.stderr}`);
  return done.stdout.toString("utf8");
}

/** qemu-img times its own key derivation, and gives up ("Unable to get accurate CPU usage") where the kernel's clock ticks badly. */
async function onceItsClockTicks(make: () => Promise<string>): Promise<void> {
  await poll(async () => (await make()) || "made", { what: "a LUKS volume", limitMs: 60_000 }, signal);
}

async function look(path: string, use = limits): Promise<Verdict> {
  await using file = await open(path, "r");
  const { size } = await file.stat();
  const head = await file.read(Buffer.alloc(HEAD_BYTES), 0, HEAD_BYTES, 0);
  const tail = await file.read(Buffer.alloc(TAIL_BYTES), 0, TAIL_BYTES, Math.max(0, size - TAIL_BYTES));
  const cut = ({ buffer, bytesRead }: { buffer: Buffer; bytesRead: number }) => buffer.subarray(0, bytesRead);
  return inspect({ head: cut(head), tail: cut(tail), lengthBytes: size }, use);
}

async function expectAgreement(path: string, use = limits): Promise<void> {
  const verdict = await look(path, use);
  if (!verdict.isAccepted) throw new Error(`refused: ${verdict.finding}`);
  const info = JSON.parse(await qemuImg("info", "--output=json", "-f", verdict.format, path)) as Record<
    string,
    unknown
  >;
  expect({ format: info["format"], size: info["virtual-size"] }).toEqual({
    format: verdict.format,
    size: verdict.virtualSizeBytes,
  });
}

const made = [1, 512, 1000, 1024 ** 2, 10 * 1024 ** 3, 2 * 1024 ** 4].flatMap((size) =>
  [
    "compat=1.1",
    "compat=0.10",
    "compat=1.1,lazy_refcounts=on",
    "compat=1.1,compression_type=zstd",
    "compat=1.1,refcount_bits=1",
    "compat=1.1,refcount_bits=64",
    "cluster_size=2M",
  ].map((options) => ({ size, options })),
);

test.each(made)("agrees with qemu-img about a qcow2 of $size bytes with $options", async ({ size, options }) => {
  const path = join(folder, "made.qcow2");
  await qemuImg("create", "-q", "-f", "qcow2", "-o", options, path, `${size}`);
  await expectAgreement(path);
});

test("agrees with qemu-img about converted, compressed and preallocated disks with data", async () => {
  const source = join(folder, "data.raw");
  await writeFile(source, raw(20_000, "some data"));
  await expectAgreement(source);
  const path = join(folder, "converted.qcow2");
  for (const args of [
    [],
    ["-c"],
    ["-c", "-o", "compression_type=zstd"],
    ["-o", "preallocation=metadata,cluster_size=512"],
  ]) {
    await qemuImg("convert", "-q", "-f", "raw", "-O", "qcow2", ...args, source, path);
    await expectAgreement(path);
  }
});

test.each<[string, Qcow2Fields]>([
  ["as it is", {}],
  ["of version 2", { version: 2 }],
  ["with a short header", { headerLength: 104 }],
  ["with the smallest clusters", { clusterBits: 9, virtualSizeBytes: 32768n }],
  ["of one sector", { clusterBits: 12, virtualSizeBytes: 512n }],
  ["with the largest clusters", { clusterBits: 21, virtualSizeBytes: 1n << 39n }],
  ["with more L1 entries than it needs", { l1Entries: 8000 }],
])("agrees with qemu-img about a crafted qcow2 %s", async (_, fields) => {
  const path = join(folder, "crafted.qcow2");
  await writeFile(path, qcow2(fields));
  await expectAgreement(path);
});

test.each([
  ["vmdk", "subformat=monolithicSparse"],
  ["vmdk", "subformat=streamOptimized"],
  ["vmdk", "subformat=monolithicFlat"],
  ["vdi", ""],
  ["vhdx", ""],
  ["vpc", "subformat=dynamic"],
  ["vpc", "subformat=fixed"],
  ["qed", ""],
  ["qcow", ""],
  ["parallels", ""],
])("refuses what qemu-img makes as %s %s", async (format, options) => {
  const path = join(folder, `foreign.${format}`);
  await qemuImg("create", "-q", "-f", format, ...(options === "" ? [] : ["-o", options]), path, "4M");
  expect(await look(path)).toMatchObject({ isAccepted: false });
  for (const file of await readdir(folder)) if (file.startsWith("foreign")) await rm(join(folder, file));
});

test("refuses what qemu-img makes with another file, a key, a snapshot, a bitmap or subclusters", async () => {
  const path = join(folder, "leaning.qcow2");
  const base = join(folder, "base.raw");
  await writeFile(base, raw());
  const secret = ["--object", "secret,id=key,data=secret"];
  const create = async (...args: readonly string[]) => qemuImg("create", "-q", "-f", "qcow2", ...args, path, "1M");
  const luks = [...secret, "-o", "encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time=10"];
  const makes: ReadonlyArray<readonly [string, () => Promise<unknown>]> = [
    ["backing file", async () => create("-b", base, "-F", "raw")],
    ["external file", async () => create("-o", `data_file=${join(folder, "data")}`)],
    ["external file", async () => create("-o", `data_file=${join(folder, "data")},data_file_raw=on`)],
    ["extended L2", async () => create("-o", "extended_l2=on")],
    ["encrypted", async () => onceItsClockTicks(async () => create(...luks))],
    ["snapshots", async () => create().then(async () => qemuImg("snapshot", "-c", "one", path))],
    ["bitmaps", async () => create().then(async () => qemuImg("bitmap", "--add", "-f", "qcow2", path, "one"))],
  ];
  for (const [why, make] of makes) {
    await rm(path, { force: true });
    await make();
    expect(await look(path)).toEqual({ isAccepted: false, finding: expect.stringContaining(why) });
  }
});

test("agrees with qemu-img about a disk with snapshots, where they are allowed", async () => {
  const path = join(folder, "snapshots.qcow2");
  await qemuImg("create", "-q", "-f", "qcow2", path, "1M");
  for (const name of ["one", "two"]) await qemuImg("snapshot", "-c", name, path);
  await expectAgreement(path, { ...limits, allowSnapshots: true });
});

test("a LUKS volume is refused", async () => {
  const path = join(folder, "volume.luks");
  const secret = ["--object", "secret,id=key,data=secret"];
  const make = ["create", "-q", "-f", "luks", ...secret, "-o", "key-secret=key,iter-time=10", path, "1M"];
  await onceItsClockTicks(async () => qemuImg(...make));
  expect(await look(path)).toEqual({ isAccepted: false, finding: expect.stringContaining("LUKS") });
});
