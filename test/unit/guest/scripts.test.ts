import { spawnSync } from "node:child_process";
import { chmod, mkdir, mkdtempDisposable, readFile, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { expect, test } from "vitest";
import { newOpensshKeyPair } from "../../../src/guest/exec/openssh-key.ts";
import { SSH_UNIT_NAME, type SshFile, sshFiles } from "../../../src/guest/exec/serve.ts";
import { runWorkloadScript, setupScript, VENDOR_DATA, WORKLOAD_UNIT } from "../../../src/guest/scripts.ts";
import { seedContents } from "../../../src/guest/seed.ts";
import type { SeedRequest } from "../../../src/ports/seed.ts";
import { envVar, someSeedRequest } from "../../fakes/seed-requests.ts";

/** A folder as a mounted seed, and one as a guest's root, set up as a guest would do it. */
async function guest(changes: Partial<SeedRequest>, ssh: readonly SshFile[] = []) {
  const folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
  const seed = join(folder.path, "seed");
  const root = join(folder.path, "root");
  for (const [name, content] of seedContents(someSeedRequest(changes), ssh)) {
    await mkdir(dirname(join(seed, name)), { recursive: true });
    await writeFile(join(seed, name), content);
  }
  const sh = (script: string) => spawnSync("/bin/sh", [script], { env: { PATH: "/usr/bin:/bin", VMLET_ROOT: root } });
  const setup = sh(join(seed, "vmlet/setup"));
  return { seed, root, sh, setup, [Symbol.asyncDispose]: () => folder.remove() };
}

const keys = { host: newOpensshKeyPair("host"), client: newOpensshKeyPair("client") };

const show = ["/bin/sh", "-c", 'printf "%s|" "$@" "$GREETING" "$PWD"; exit 7', "me"];

test("the workload gets its words, its environment and its folder exactly, and its status comes back", async () => {
  const argv = [...show, "it's", "a\nb", "$HOME", "", "-n"];
  await using at = await guest({ argv, env: [envVar("GREETING", "hi 'there'\n")], workingDir: "/tmp" });
  expect(at.setup.status).toBe(0);
  const { stdout, status } = at.sh(join(at.root, "etc/vmlet/workload"));
  expect(stdout.toString()).toBe("it's|a\nb|$HOME||-n|hi 'there'\n|/tmp|");
  expect(status).toBe(7);
});

test("a command that does not exist ends with 127, as in a shell", async () => {
  await using at = await guest({ argv: ["/no/such/program"] });
  expect(at.sh(join(at.root, "etc/vmlet/workload")).status).toBe(127);
});

test("run-workload reports the exit status as a line on the port and powers the guest off", async () => {
  await using at = await guest({ argv: show });
  const port = join(at.root, "port");
  const script = runWorkloadScript()
    .replace("port=/dev/virtio-ports/dev.vmlet.init.0", `port=${port}`)
    .replace("/dev/console", join(at.root, "console"))
    .replace("[ -d /run/systemd/system ]", "false")
    .replace("poweroff ||", `: >${join(at.root, "off")} ||`);
  await writeFile(join(at.root, "run"), script);
  await writeFile(port, "");
  at.sh(join(at.root, "run"));
  expect(await readFile(port, "utf8")).toBe("exit 7\n");
  expect(await readFile(join(at.root, "console"), "utf8")).toContain("hello|");
  await stat(join(at.root, "off"));
});

test("setup installs files with their bytes and modes below new folders, and is repeatable", async () => {
  const content = Buffer.from([0, 1, 255, 10]);
  const files = [
    { guestPath: "/var/run/secrets/it's/token", content, mode: 0o640 },
    { guestPath: "/etc/hosts", content: Buffer.from("127.0.0.1 x\n"), mode: 0o644 },
  ];
  await using at = await guest({ files });
  expect(at.setup.stderr.toString()).toBe("");
  expect(at.sh(join(at.seed, "vmlet/setup")).status).toBe(0);
  const path = join(at.root, "var/run/secrets/it's/token");
  expect((await readFile(path)).equals(content)).toBe(true);
  expect((await stat(path)).mode & 0o777).toBe(0o640);
  expect((await stat(join(at.root, "etc/vmlet/environment"))).mode & 0o777).toBe(0o600);
  expect(await readFile(join(at.root, "etc/hosts"), "utf8")).toBe("127.0.0.1 x\n");
});

test("setup sets the pod's sysctls, and says which the guest's kernel does not take", async () => {
  await using at = await guest({ sysctls: { "kernel/shm_rmid_forced": "1", "net/ipv4/tcp_rmem": "4096 1 it's" } });
  await mkdir(join(at.root, "proc/sys/kernel"), { recursive: true });
  const { status, stderr } = at.sh(join(at.seed, "vmlet/setup"));
  expect(await readFile(join(at.root, "proc/sys/kernel/shm_rmid_forced"), "utf8")).toBe("1\n");
  expect(stderr.toString()).toContain("vmlet: this kernel does not take sysctl net/ipv4/tcp_rmem = 4096 1 it's");
  expect(status).toBe(1);
});

test("after setup no router that advertises itself is heeded, unless the pod's sysctls want it", async () => {
  await using at = await guest({ sysctls: { "net/ipv6/conf/eth1/accept_ra": "2" } });
  const names = ["default", "eth0", "eth1"];
  const pathOf = (name: string): string => join(at.root, "proc/sys/net/ipv6/conf", name, "accept_ra");
  for (const name of names) {
    await mkdir(dirname(pathOf(name)), { recursive: true });
    await writeFile(pathOf(name), "1\n");
  }
  expect(at.sh(join(at.seed, "vmlet/setup"))).toMatchObject({ status: 0 });
  const now = await Promise.all(names.map(async (name) => await readFile(pathOf(name), "utf8")));
  expect(now).toEqual(["0\n", "0\n", "2\n"]);
});

test("a file that cannot be written is said and does not keep the others away", async () => {
  const files = ["/blocked/a", "/etc/b"].map((guestPath) => ({ guestPath, content: Buffer.from("x"), mode: 0o644 }));
  await using at = await guest({ files });
  await writeFile(join(at.root, "in-the-way"), "");
  const script = setupScript(
    files.map((file) => ({ ...file, guestPath: file.guestPath.replace("/blocked", "/in-the-way") })),
    { hasWorkload: false, hasRunAs: false, ssh: [], sysctls: {} },
  );
  await writeFile(join(at.seed, "vmlet/setup"), script);
  await chmod(join(at.root, "etc/b"), 0o600);
  const again = at.sh(join(at.seed, "vmlet/setup"));
  expect(again.status).toBe(1);
  expect(again.stderr.toString()).toContain("vmlet: cannot write /in-the-way/a");
  expect((await stat(join(at.root, "etc/b"))).mode & 0o777).toBe(0o644);
});

test.each(["etc/x", "/etc/../x", "/a//b", "/", "/etc/", "/a\0b"])("a guest path %j is refused", (guestPath) => {
  const files = [{ guestPath, content: Buffer.from(""), mode: 0o644 }];
  expect(() => setupScript(files, { hasWorkload: false, hasRunAs: false, ssh: [], sysctls: {} })).toThrow("mounts");
});

test("what cloud-init is given for us is a boothook that sh can read, and leaves the user's user-data alone", () => {
  const userData = 'Content-Type: multipart/mixed; boundary="x"\r\n\r\n\u0007';
  const contents = seedContents(someSeedRequest({ userData }));
  expect(contents.get("user-data")).toBe(userData);
  expect(contents.get("vendor-data")).toBe(VENDOR_DATA);
  const [first, ...script] = VENDOR_DATA.split("\n");
  expect(first).toBe("#cloud-boothook");
  expect(script[0]).toBe("#!/bin/sh");
  expect(spawnSync("/bin/sh", ["-n"], { input: script.join("\n") }).status).toBe(0);
  expect(WORKLOAD_UNIT).toContain("After=network-online.target cloud-final.service");
});

test("what lets us in by ssh is installed for sshd's taste: the host key for root alone, the rest readable", async () => {
  await using at = await guest({}, sshFiles(keys, "app"));
  expect(at.setup.stderr.toString()).toBe("");
  const path = (name: string): string => join(at.root, "etc/vmlet/ssh", name);
  expect(await readFile(path("host_key"), "utf8")).toBe(keys.host.privateKey);
  expect((await stat(path("host_key"))).mode & 0o777).toBe(0o600);
  expect((await stat(path("."))).mode & 0o777).toBe(0o755);
  expect(await readFile(path("authorized_keys"), "utf8")).toBe(`restrict,pty ${keys.client.publicKey}\n`);
  expect(await readFile(path("user"), "utf8")).toBe("app\n");
  for (const name of ["authorized_keys", "sshd_config"]) expect((await stat(path(name))).mode & 0o777).toBe(0o644);
  for (const name of ["serve", "command"]) expect((await stat(path(name))).mode & 0o777).toBe(0o755);
});

test("neither our private key nor anything of ssh is on a seed that did not ask for it", () => {
  const asked = [...seedContents(someSeedRequest(), sshFiles(keys, "root"))].map(([, content]) => String(content));
  expect(asked.some((content) => content.includes(keys.client.privateKey))).toBe(false);
  const names = [...seedContents(someSeedRequest()).keys()];
  expect(names.filter((name) => name.includes("vmlet/ssh") || name.includes(SSH_UNIT_NAME))).toEqual([]);
});

test.each(["serve", "command"])("%s is a script that sh can read", (name) => {
  const script = sshFiles(keys, "root").find((file) => file.name === name)?.content ?? "";
  expect(spawnSync("/bin/sh", ["-n"], { input: script }).status).toBe(0);
});

test("the command that ssh was asked for is read by sh, without what ssh told about itself", async () => {
  await using at = await guest({}, sshFiles(keys, "root"));
  const SSH_ORIGINAL_COMMAND = `printf '%s|' "it's" '$HOME' "\${SSH_ORIGINAL_COMMAND-none}" "\${SSH_TTY-none}"; exit 3`;
  const env = { PATH: "/usr/bin:/bin", SSH_TTY: "/dev/pts/0", SSH_ORIGINAL_COMMAND };
  const { stdout, status } = spawnSync(join(at.root, "etc/vmlet/ssh/command"), { env });
  expect(stdout.toString()).toBe("it's|$HOME|none|none|");
  expect(status).toBe(3);
});

test("a guest whose pod has no command finds no workload", () => {
  const names = [...seedContents(someSeedRequest()).keys()];
  expect(names.filter((name) => name.includes("workload"))).toEqual([]);
});

test.each([[{ argv: ["a\0b"] }, "command[0]"] as const, [{ argv: ["a"], workingDir: "\0" }, "workingDir"] as const])(
  "a NUL in what is to be run is refused, naming the field: %j",
  (changes, field) => expect(() => seedContents(someSeedRequest(changes))).toThrow(field),
);
