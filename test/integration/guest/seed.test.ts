import { mkdtempDisposable, readdir, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { parse } from "yaml";
import { createSeed, seedContents } from "../../../src/guest/seed.ts";
import { run } from "../../../src/lib/spawn.ts";
import { failsWith } from "../../../src/model/failure.ts";
import { dualStack, someSeedRequest } from "../../fakes/seed-requests.ts";

const signal = AbortSignal.timeout(60_000);
const seed = createSeed({ run, isoTool: "/usr/bin/genisoimage" });

async function readBack(image: string, name: string): Promise<Buffer> {
  const { stdout, exitCode } = await run("/usr/bin/isoinfo", ["-i", image, "-R", "-x", `/${name}`], {}, signal);
  expect(exitCode).toBe(0);
  return stdout;
}

test("the image has label cidata and every file byte for byte, and only root may read it", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const seedPath = join(folder.path, "seed.iso");
  await writeFile(`${seedPath}.tmp`, "half-made", { mode: 0o644 });
  const files = [{ guestPath: "/etc/hosts", content: Buffer.from([0, 255, 10, 13]), mode: 0o644 }];
  const userData = "#!/bin/sh\r\necho 'é\u{1f600}'\n\u0007";
  const request = someSeedRequest({ seedPath, files, argv: ["/bin/true"], userData });
  await seed.build(request, signal);

  const { stdout } = await run("/usr/bin/isoinfo", ["-d", "-i", seedPath], {}, signal);
  expect(stdout.toString()).toMatch(/^Volume id: cidata$/m);
  expect(stdout.toString()).toMatch(/Joliet/);
  for (const [name, content] of seedContents(request)) {
    expect((await readBack(seedPath, name)).equals(Buffer.from(content)), name).toBe(true);
  }
  expect((await stat(seedPath)).mode & 0o777).toBe(0o600);
  expect(await readdir(folder.path)).toEqual(["seed.iso"]);
});

test("cloud-init's YAML keeps text as text, however it looks", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const seedPath = join(folder.path, "seed.iso");
  const attachment = { ...dualStack, mac: "52:54:00:12:34:56" };
  await seed.build(someSeedRequest({ seedPath, attachment, hostname: "0x1f", sshKeys: ["no", 'a: "b"'] }), signal);
  const metaData = await readBack(seedPath, "meta-data");
  expect(parse(metaData.toString(), { version: "1.1" })).toMatchObject({
    "local-hostname": "0x1f",
    "public-keys": ["no", 'a: "b"'],
  });
  const network = (await readBack(seedPath, "network-config")).toString();
  expect(network).toContain('macaddress: "52:54:00:12:34:56"'); // unquoted it is a number to YAML 1.1
});

test("a tool that fails is named with what it said, and nothing is left behind", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const broken = createSeed({ run, isoTool: "/bin/false" });
  const request = someSeedRequest({ seedPath: join(folder.path, "seed.iso") });
  const error: unknown = await broken.build(request, signal).catch((thrown: unknown) => thrown);
  if (!failsWith(error, "TOOL_FAILED")) throw error;
  expect(error.failure).toMatchObject({ tool: "/bin/false", exitCode: 1 });
  expect(await readdir(folder.path)).toEqual([]);
});

test("abort ends the tool and leaves nothing behind", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const reason = new Error("enough");
  const request = someSeedRequest({ seedPath: join(folder.path, "seed.iso") });
  await expect(seed.build(request, AbortSignal.abort(reason))).rejects.toBe(reason);
  expect(await readdir(folder.path)).toEqual([]);
});

test("a full disk is said with what is needed and what is free, and nothing is left behind", async () => {
  await using folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const mounted = await run("/usr/bin/mount", ["-t", "tmpfs", "-o", "size=64k", "tmpfs", folder.path], {}, signal);
  expect(mounted.exitCode).toBe(0);
  try {
    const files = [{ guestPath: "/etc/big", content: Buffer.alloc(200_000, 1), mode: 0o644 }];
    const request = someSeedRequest({ seedPath: join(folder.path, "seed.iso"), files });
    const error: unknown = await seed.build(request, signal).catch((thrown: unknown) => thrown);
    if (!failsWith(error, "DISK_FULL")) throw error;
    expect(error.failure.neededBytes).toBeGreaterThan(error.failure.freeBytes);
    expect(await readdir(folder.path)).toEqual([]);
  } finally {
    await run("/usr/bin/umount", [folder.path], {}, AbortSignal.timeout(5000));
  }
});
