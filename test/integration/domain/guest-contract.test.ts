import { chmod, chown, mkdir, mkdtempDisposable, readFile, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { expect, test } from "vitest";
import { createSeed } from "../../../src/guest/seed.ts";
import { poll } from "../../../src/lib/backoff.ts";
import { run } from "../../../src/lib/spawn.ts";
import { renderDomain } from "../../../src/libvirt/domain-xml.ts";
import { loadTemplate } from "../../../src/libvirt/template.ts";
import { newMachineId } from "../../../src/model/ids.ts";
import { domainNameOf, type MachinePlan, tapNameOf } from "../../../src/model/machine-plan.ts";
import type { SeedRequest } from "../../../src/ports/seed.ts";
import { somePlan } from "../../fakes/plans.ts";
import { envVar, someSeedRequest } from "../../fakes/seed-requests.ts";
import { plainSsh } from "../guest/plain-ssh.ts";

/** Building the guest, if it is not there yet, and booting it without KVM on a busy machine. */
const LIMIT_MS = 900_000;
const seed = createSeed({ run, isoTool: "/usr/bin/genisoimage" });

async function must(file: string, args: readonly string[], signal: AbortSignal): Promise<string> {
  const { exitCode, stdout, stderr } = await run(file, args, {}, signal);
  if (exitCode !== 0) throw new Error(`${file} ${args.join(" ")}: ${stderr}`);
  return stdout.toString();
}

const virsh = (args: readonly string[], signal: AbortSignal): Promise<string> =>
  must("/usr/bin/virsh", ["-q", "-c", "qemu:///system", ...args], signal);

/** A guest of test/guests, booted from its seed alone: the tap is wired to nothing. */
async function boot(guest: string, memoryMiB: number, request: Partial<SeedRequest>, signal: AbortSignal) {
  await using undo = new AsyncDisposableStack();
  const folder = undo.use(await mkdtempDisposable("/var/tmp/vmlet-guest-"));
  const at = (name: string): string => join(folder.path, name);
  await chmod(folder.path, 0o755);
  const basePath = (await must(resolve("test/guests/build"), [guest], signal)).trim();
  const args = ["create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", basePath, at("overlay.qcow2")];
  await must("/usr/bin/qemu-img", args, signal);
  await mkdir(at("vnc"), { mode: 0o700 });
  await chown(at("vnc"), Number(await must("/usr/bin/id", ["-u", "libvirt-qemu"], signal)), 0);

  const machineId = newMachineId();
  const { partition: _, ...usual } = somePlan({ cpu: { count: 2 }, machineId });
  const plan: MachinePlan = {
    ...usual,
    domainName: domainNameOf("default", `contract-${guest}`, machineId),
    memoryBytes: memoryMiB << 20,
    nic: { tapName: tapNameOf(machineId), mac: "52:54:00:12:34:56", mtu: 1450 },
    disk: { overlayPath: at("overlay.qcow2"), base: { path: basePath, format: "qcow2" } },
    seedPath: at("seed.iso"),
    consoleFilePath: at("console"),
    consoleSocketPath: at("console.sock"),
    initReportPath: at("init-report"),
    vncSocketPath: at("vnc/vnc.sock"),
    sshSocketPath: at("ssh.sock"),
  };
  const keyFolderPath = at("ssh");
  const ssh = { keyFolderPath, user: request.ssh?.user ?? "root" };
  await seed.build(someSeedRequest({ ...request, ssh, machineId, seedPath: plan.seedPath }), signal);
  const template = await loadTemplate("domain-templates", "linux", signal);
  await writeFile(at("domain.xml"), renderDomain(plan, template, { virtualization: "emulated", tcgCacheMiB: 256 }));
  await virsh(["create", at("domain.xml")], signal);
  undo.defer(async () => {
    await run("/usr/bin/virsh", ["-c", "qemu:///system", "destroy", plan.domainName], {}, AbortSignal.timeout(20_000));
  });
  const owned = undo.move();
  return {
    name: plan.domainName,
    console: async () => (await readFile(plan.consoleFilePath, "utf8")).replaceAll("\r", ""),
    exitCode: () => seed.readInitReport(plan.initReportPath),
    ssh: (command: string) => plainSsh({ ...ssh, socketPath: at("ssh.sock") }, command, signal),
    /** Until the domain is gone: it is transient, so off is gone. */
    async ended() {
      const list = async (): Promise<true | undefined> =>
        (await virsh(["list", "--name"], signal)).includes(plan.domainName) ? undefined : true;
      await poll(list, { firstMs: 200, maxMs: 1000 }, signal);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

const script = [
  'echo "words=$1,$2 greeting=$GREETING folder=$PWD"',
  'echo "token=$(cat /srv/secrets/token)"',
  'echo "mode=$(ls -l /etc/vmlet/environment | cut -c1-10)"',
  'echo "net=$(ip -o addr show dev eth0 | grep -c "10.88.0.5/16\\|fd00::5/64") mtu=$(cat /sys/class/net/eth0/mtu)"',
  'echo "user=$(cat /run/user-was-here 2>/dev/null)"',
  "exit 37",
].join("\n");

const workload: Partial<SeedRequest> = {
  argv: ["/bin/sh", "-c", script, "me", "it's", "$HOME"],
  env: [envVar("GREETING", "hi 'there'")],
  workingDir: "/srv/new",
  files: [{ guestPath: "/srv/secrets/token", content: Buffer.from("s3cret"), mode: 0o644 }],
  userData: "#!/bin/sh\necho yes >/run/user-was-here\n",
};

/** Debian's minutes are for the long form: end to end, test/integration/e2e/debian.test.ts boots it in the short one too. */
const guests: [string, number][] = [["tiny", 128]];
if (process.env["FULL"] === "1") guests.push(["debian", 512]);

test.each(guests)(
  "in the %s guest the command runs after user-data with its words, env, folder, files and network, and its status ends the machine",
  { timeout: LIMIT_MS },
  async (guest, memoryMiB) => {
    const signal = AbortSignal.timeout(LIMIT_MS - 5000);
    await using machine = await boot(guest, memoryMiB, workload, signal);
    try {
      await machine.ended();
    } catch (error) {
      throw new Error(`the machine did not end; its console: ${(await machine.console()).slice(-3000)}`, {
        cause: error,
      });
    }
    const text = await machine.console();
    expect(text).toContain("words=it's,$HOME greeting=hi 'there' folder=/srv/new\n");
    expect(text).toContain("token=s3cret\n");
    expect(text).toContain("mode=-rw-------\n");
    expect(text).toContain("net=2 mtu=1450\n");
    expect(text).toContain("user=yes\n");
    expect(await machine.exitCode()).toBe(37);
  },
);

test("the tiny guest serves ssh on its port with the machine's own keys, to the user whom the pod names", {
  timeout: LIMIT_MS,
}, async () => {
  const signal = AbortSignal.timeout(LIMIT_MS - 5000);
  const request = { env: [envVar("GREETING", "hi")], ssh: { keyFolderPath: "", user: "app" } };
  await using machine = await boot("tiny", 128, { ...request, userData: "" }, signal);
  const isThere = async (): Promise<true | undefined> => (await machine.console()).includes("tiny: ready") || undefined;
  await poll(isThere, { firstMs: 200, maxMs: 1000 }, signal);
  const { exitCode, stdout, stderr } = await machine.ssh(
    'id -un; . /etc/vmlet/ssh/environment; echo "$GREETING"; cat /etc/vmlet/environment',
  );
  expect({ exitCode, stdout: stdout.toString(), stderr }).toEqual({
    exitCode: 1,
    stdout: "app\nhi\n",
    stderr: expect.stringContaining("Permission denied"),
  });
});
