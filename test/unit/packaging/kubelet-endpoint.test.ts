import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { run } from "../../../src/lib/spawn.ts";

const signal = AbortSignal.timeout(60_000);
const ENDPOINT = "--container-runtime-endpoint=unix:///run/vmlet/router.sock";
let folder = "";
let dropIn = "";

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "vmlet-kubelet-"));
  dropIn = join(folder, "kubelet.service.d/zz-vmlet-router.conf");
});
afterEach(async () => await rm(folder, { recursive: true, force: true }));

/** A systemctl that has these unit files and whatever is in the folder, and writes down what it is told. */
async function systemctl(unit: string, isActive = true): Promise<void> {
  await mkdir(join(folder, "bin"));
  await writeFile(join(folder, "unit"), unit);
  const script = `#!/bin/sh
echo "$*" >>${folder}/told
case $1 in
  cat) cat ${folder}/unit; for f in ${folder}/kubelet.service.d/*.conf; do [ ! -e "$f" ] || { echo "# $f"; cat "$f"; }; done ;;
  is-active) ${isActive ? "exit 0" : `[ ! -e ${dropIn} ]`} ;;
esac
`;
  await writeFile(join(folder, "bin/systemctl"), script);
  await chmod(join(folder, "bin/systemctl"), 0o755);
}

async function endpoint(
  verb: string,
  { isAnswered = true } = {},
): Promise<{ exitCode: number | null; said: string; told: string[] }> {
  const PATH = `${join(folder, "bin")}:/usr/bin:/bin`;
  const seconds = { ACTIVE_WITHIN_SECONDS: "1", STAYS_FOR_SECONDS: "0", ANSWERS_WITHIN_SECONDS: "1" };
  const env = { PATH, SYSTEMD_FOLDER: folder, VMLET: isAnswered ? "/bin/true" : "/bin/false", ...seconds };
  const { exitCode, stdout, stderr } = await run(
    join(process.cwd(), "packaging/kubelet-endpoint"),
    [verb],
    { env },
    signal,
  );
  const told = await readFile(join(folder, "told"), "utf8").catch(() => "");
  await rm(join(folder, "told"), { force: true });
  return {
    exitCode,
    said: stdout.toString("utf8") + stderr,
    told: told.split("\n").filter((line) => /^(restart|daemon)/.test(line)),
  };
}

const KUBEADM = `# /lib/systemd/system/kubelet.service
[Service]
ExecStart=/usr/bin/kubelet
# /usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf
[Service]
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_CONFIG_ARGS \\
  $KUBELET_EXTRA_ARGS
`;

test("the kubelet keeps its command line, and gets one more flag at its end", async () => {
  await systemctl(KUBEADM);
  const { exitCode, said, told } = await endpoint("use");
  expect(exitCode, said).toBe(0);
  expect(told).toEqual(["daemon-reload", "restart kubelet.service"]);
  const lines = (await readFile(dropIn, "utf8")).split("\n").filter((line) => line.startsWith("ExecStart="));
  expect(lines).toEqual([
    "ExecStart=",
    `ExecStart=/usr/bin/kubelet $KUBELET_CONFIG_ARGS   $KUBELET_EXTRA_ARGS ${ENDPOINT}`,
  ]);
});

test("said again, it changes nothing and restarts nothing", async () => {
  await systemctl(KUBEADM);
  await endpoint("use");
  const before = await readFile(dropIn, "utf8");
  expect((await endpoint("use")).told).toEqual([]);
  expect(await readFile(dropIn, "utf8")).toBe(before);
});

test("a changed command line of the kubelet is taken over", async () => {
  await systemctl(KUBEADM);
  await endpoint("use");
  await writeFile(
    join(folder, "unit"),
    "# /lib/systemd/system/kubelet.service\n[Service]\nExecStart=/opt/kubelet --v=2\n",
  );
  expect((await endpoint("use")).told).toEqual(["daemon-reload", "restart kubelet.service"]);
  expect(await readFile(dropIn, "utf8")).toContain(`ExecStart=/opt/kubelet --v=2 ${ENDPOINT}\n`);
});

test("an ExecStart of `systemctl edit` is taken over, and does not come after ours", async () => {
  await systemctl(KUBEADM);
  await mkdir(join(folder, "kubelet.service.d"));
  await writeFile(join(folder, "kubelet.service.d/override.conf"), "[Service]\nExecStart=\nExecStart=/opt/own --v=4\n");
  expect((await endpoint("use")).exitCode).toBe(0);
  const files = (await readdir(join(folder, "kubelet.service.d"))).toSorted();
  expect(await readFile(join(folder, "kubelet.service.d", files.at(-1) ?? ""), "utf8")).toContain(
    `ExecStart=/opt/own --v=4 ${ENDPOINT}\n`,
  );
});

test("restored, nothing of ours is left, and nothing else is gone", async () => {
  await systemctl(KUBEADM);
  await mkdir(join(folder, "kubelet.service.d"));
  await writeFile(join(folder, "kubelet.service.d/20-own.conf"), "[Service]\nNice=1\n");
  await endpoint("use");
  const { exitCode, told } = await endpoint("restore");
  expect(exitCode).toBe(0);
  expect(told).toEqual(["daemon-reload", "restart kubelet.service"]);
  expect(await readdir(join(folder, "kubelet.service.d"))).toEqual(["20-own.conf"]);
  expect((await endpoint("restore")).told).toEqual([]); // there is nothing to do
});

test("a kubelet that does not start with it gets its former setting back", async () => {
  await systemctl(KUBEADM, false);
  const { exitCode, said } = await endpoint("use");
  expect(exitCode).toBe(1);
  expect(said).toContain("does not start");
  expect(await readdir(folder)).not.toContain("kubelet.service.d");
});

test("a kubelet is not given an endpoint behind which no containers' runtime answers", async () => {
  await systemctl(KUBEADM);
  const { exitCode, said, told } = await endpoint("use", { isAnswered: false });
  expect({ exitCode, told }).toEqual({ exitCode: 1, told: [] });
  expect(said).toContain("router.containersSocketPath");
  expect(await readdir(folder)).not.toContain("kubelet.service.d");
});

test("where there is no such unit it says what to set by hand", async () => {
  await systemctl("");
  const { exitCode, said } = await endpoint("use");
  expect(exitCode).toBe(1);
  expect(said).toContain("containerRuntimeEndpoint: unix:///run/vmlet/router.sock");
});
