// The installer of the chart, and docs/install.md on a plain machine, with systemd, which the Debian guest has: installed, the
// kubelet pointed to the router, and everything taken away again. A boot and some minutes, so FULL=1. The kubelet is a stand-in that notes its flags.

import { cp, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { run } from "../../../src/lib/spawn.ts";
import { output } from "../../node/command.ts";
import { REPO_PATH } from "../../node/layout.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { newSshKey, type SshKey, ssh } from "../e2e/guest-shell.ts";
import { whyNoDebian, whyNoSsh } from "../e2e/machine-limits.ts";
import { BOOT_LIMIT_MS, VmPod } from "../e2e/vm-pod.ts";

const why = process.env["FULL"] !== "1" ? "FULL=1 only" : (whyNoDebian ?? whyNoSsh);
const LIMIT_MS = 5 * BOOT_LIMIT_MS;
const MEMORY_BYTES = 1024n << 20n;
const LIBRARIES = ["libatomic.so.1", "libstdc++.so.6", "libgcc_s.so.1"];

const KUBELET = `#!/bin/sh
echo "$*" >/run/kubelet-flags
exec sleep infinity
`;
const KUBELET_UNIT = `[Service]
Environment=EXTRA=--v=2
ExecStart=/usr/local/bin/kubelet --container-runtime-endpoint=unix:///run/containerd/containerd.sock $EXTRA
[Install]
WantedBy=multi-user.target
`;

const FORMER_FLAGS = "--container-runtime-endpoint=unix:///run/containerd/containerd.sock --v=2";

describe.skipIf(why !== undefined)(`make install in a Debian guest${why ? ` (${why})` : ""}`, () => {
  const suite = AbortSignal.timeout(3 * LIMIT_MS);
  let node: TestNode;
  let key: SshKey;
  let ip = "";

  beforeAll(async () => {
    node = await startTestNode({}, suite);
    key = await newSshKey(node.layout.stateFolderPath, "key", suite);
    const pod = await VmPod.start(
      node,
      {
        name: "install",
        image: node.debianImage,
        bootLimitMs: LIMIT_MS,
        pod: { annotations: { "vmlet.dev/ssh-keys": key.publicKey, "vmlet.dev/root-size": "6Gi" } },
        container: {
          linux: { resources: { memoryLimitInBytes: MEMORY_BYTES, cpuQuota: 200_000n, cpuPeriod: 100_000n } },
        },
      },
      suite,
    );
    ip = await pod.ip(suite);
    const isUp = async (): Promise<true | undefined> =>
      (await ssh(key, ip, "true", suite)).exitCode === 0 ? true : undefined;
    await poll(isUp, { what: "ssh of the guest", limitMs: LIMIT_MS, everyMs: 1_000 }, suite);
    await putInstalled();
  }, LIMIT_MS);
  afterAll(async () => await node[Symbol.asyncDispose](), LIMIT_MS);

  /** With the libraries that docs/install.md has apt-get bring, which the guest cannot reach. */
  async function putInstalled(): Promise<void> {
    const root = join(node.layout.stateFolderPath, "installed");
    await mkdir(root);
    await output([join(REPO_PATH, "packaging/install"), root, "/usr/local"], suite);
    const lib = join(root, "usr/local/lib/vmlet/lib");
    await mkdir(lib);
    for (const name of LIBRARIES)
      await cp(join("/usr/lib/x86_64-linux-gnu", name), join(lib, name), { dereference: true });
    await output(["/bin/tar", "-C", root, "-czf", `${root}.tar.gz`, "."], suite);
    await send("tar -xzf - -C / --no-same-owner", await readFile(`${root}.tar.gz`));
    await send("cat >/usr/local/bin/kubelet; chmod 755 /usr/local/bin/kubelet", KUBELET);
    await send(
      "cat >/etc/systemd/system/kubelet.service; systemctl daemon-reload; systemctl start kubelet",
      KUBELET_UNIT,
    );
    // What the router finds where containerd would be: it says its version.
    const own = "--run-folder-path /run/stand-in --state-folder-path /var/lib/stand-in --metrics-listen off";
    await send(
      `systemd-run --unit=stand-in -E LD_LIBRARY_PATH=/usr/local/lib/vmlet/lib \
        /usr/local/lib/vmlet/bin/vmlet serve --socket-path /run/containerd/containerd.sock ${own}
      timeout 300 sh -c 'until [ -S /run/containerd/containerd.sock ]; do sleep 0.2; done' ||
        { journalctl --unit stand-in --no-pager --lines 40 >&2; exit 1; }`,
      "",
    );
  }

  async function send(command: string, stdin: string | Buffer): Promise<void> {
    const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"].flatMap((o) => [
      "-o",
      o,
    ]);
    const argv = ["-F", "none", ...options, "-i", key.path, `root@${ip}`, command];
    const done = await run("/usr/bin/ssh", argv, { stdin }, suite);
    expect(done.exitCode, done.stderr).toBe(0);
  }

  async function guest(script: string): Promise<string> {
    const { exitCode, text } = await ssh(key, ip, script, suite);
    expect(exitCode, `${script}: ${text}`).toBe(0);
    return text;
  }

  /** A line that docs/install.md has as well. */
  async function step(line: string): Promise<string> {
    expect(await readFile(join(REPO_PATH, "docs/install.md"), "utf8")).toContain(line);
    return await guest(line);
  }

  const flags = async (): Promise<string> => await guest("cat /run/kubelet-flags");
  /** With the libraries that apt-get would have brought. */
  const cli = "LD_LIBRARY_PATH=/usr/local/lib/vmlet/lib vmlet";
  /** A daemon that was killed leaves its socket, so being there is not enough. */
  async function bothAnswer(): Promise<void> {
    await guest(`timeout 300 sh -c '${isServed}'`);
    await guest(`timeout 300 sh -c 'until ${cli} version; do sleep 0.5; done' >/dev/null 2>&1`);
  }
  const isServed =
    "until [ -S /run/vmlet/router.sock ] && curl -sf http://127.0.0.1:10281/healthz; do sleep 0.05; done";

  describe("the installer of the chart, on the node that it is in", () => {
    /** As the init container `router` runs it. */
    const env = "PROGRAM_FOLDER=/opt/vmlet STATE_FOLDER=/var/lib/vmlet KUBELET_UNIT=kubelet.service";
    const installer = async (verb: string): Promise<{ exitCode: number; text: string }> => {
      return await ssh(key, ip, `${env} sh /usr/lib/vmlet/packaging/image/vmlet-node ${verb} 2>&1`, suite);
    };
    const build = async (id: string): Promise<void> =>
      void (await guest(
        `echo ${id} >/usr/lib/vmlet/build-id; mkdir -p /opt/vmlet/${id}; ln -sfn /usr/local/lib/vmlet /opt/vmlet/${id}/program`,
      ));
    const pids = async (): Promise<string[]> =>
      (await guest("systemctl show --value -p MainPID vmlet-router kubelet")).split(/\n+/);

    test(
      "installs the router and points the kubelet to it; said again, it restarts neither",
      async () => {
        await guest(
          "ln -s /usr/local/lib/vmlet /usr/lib/vmlet; mkdir /config; echo 'logLevel: debug' >/config/config.yaml",
        );
        await build("0.1.0-first");
        expect(await installer("router-install")).toMatchObject({ exitCode: 0 });
        await guest(`timeout 300 sh -c '${isServed}'`);
        expect(await flags()).toMatch(/ --container-runtime-endpoint=unix:\/\/\/run\/vmlet\/router\.sock$/);
        const before = await pids();
        expect(await installer("router-install")).toMatchObject({ exitCode: 0 });
        expect(await pids()).toEqual(before);
      },
      LIMIT_MS,
    );

    test(
      "a newer build restarts the router, and not the kubelet",
      async () => {
        const [routerPid, kubeletPid] = await pids();
        await build("0.1.0-second");
        expect(await installer("router-install")).toMatchObject({ exitCode: 0 });
        await guest(`timeout 300 sh -c '${isServed}'`);
        const now = await pids();
        expect(now[0]).not.toBe(routerPid);
        expect(now[1]).toBe(kubeletPid);
        expect(await guest("cat /etc/systemd/system/vmlet-router.service")).toContain(
          "/opt/vmlet/0.1.0-second/program",
        );
      },
      LIMIT_MS,
    );

    test(
      "with settings that no router takes it ends, and the router that runs goes on",
      async () => {
        const before = await pids();
        await guest("cp /config/config.yaml /config/good; echo 'logLevl: debug' >/config/config.yaml");
        expect(await installer("router-install")).toMatchObject({
          exitCode: 1,
          text: expect.stringContaining("logLevl"),
        });
        expect(await pids()).toEqual(before);
        expect(await guest("cat /etc/vmlet/config.yaml; mv /config/good /config/config.yaml")).toBe("logLevel: debug");
      },
      LIMIT_MS,
    );

    test(
      "removes neither while there are machines; then both, and the kubelet is as it was",
      async () => {
        await guest("mkdir -p /var/lib/vmlet/pods/one");
        const variables = env.split(" ").map((variable) => `-E ${variable}`);
        await guest(
          `systemd-run --unit=removal ${variables.join(" ")} sh /usr/lib/vmlet/packaging/image/vmlet-node router-remove`,
        );
        await guest("timeout 60 sh -c 'until journalctl -u removal | grep machines; do sleep 0.5; done'");
        expect(await flags()).toContain("router.sock");
        await guest("rmdir /var/lib/vmlet/pods/one");
        await guest("timeout 60 sh -c 'until [ -e /run/router-is-gone ]; do sleep 0.5; done'; systemctl stop removal");
        expect(await flags()).toBe(FORMER_FLAGS);
        expect(await guest("ls /etc/systemd/system/ | grep vmlet; true")).toBe("");
        await guest("rm -rf /usr/lib/vmlet /opt/vmlet /config /etc/vmlet");
      },
      LIMIT_MS,
    );
  });

  test(
    "daemon and router are started, and start again when they are killed",
    async () => {
      await step("systemd-sysusers && systemd-tmpfiles --create");
      await step("systemctl daemon-reload && systemctl enable --now vmlet vmlet-router");
      await bothAnswer();
      await step("/usr/local/lib/vmlet/packaging/try-router && systemctl restart vmlet vmlet-router");
      await bothAnswer();
      await guest("systemctl kill -s KILL vmlet-router vmlet; sleep 1; systemctl is-active vmlet-router vmlet");
      await bothAnswer();
      expect(await guest("stat -c %a /run/vmlet/router.sock /run/vmlet/vmlet.sock")).toBe("600\n600");
      const found = await guest(`${cli} doctor --json; true`);
      expect(found).toMatch(/^\{"about":"cgroups","level":"ok","what":"version 2, driver systemd"/m); // machined is there
      expect(found).toMatch(/^\{"about":"vmlet","level":"ok"/m);
    },
    LIMIT_MS,
  );

  test(
    "the kubelet asks the router, and what it had before is kept",
    async () => {
      const before = await flags();
      await step("/usr/local/lib/vmlet/packaging/kubelet-endpoint use");
      expect(await flags()).toBe(`${before} --container-runtime-endpoint=unix:///run/vmlet/router.sock`);
    },
    LIMIT_MS,
  );

  test(
    "removed, the kubelet asks what it asked, and no unit or program of ours is left",
    async () => {
      await step("/usr/local/lib/vmlet/packaging/kubelet-endpoint restore");
      expect(await flags()).toBe(FORMER_FLAGS);
      await step("systemctl disable --now vmlet vmlet-router");
      await guest("/usr/local/lib/vmlet/packaging/uninstall");
      const left = await guest(
        "ls -d /etc/systemd/system/*vmlet* /etc/systemd/system/*/*vmlet* /usr/local/*/*vmlet* 2>/dev/null; true",
      );
      expect(left).toBe("");
      await guest("systemctl daemon-reload; systemctl is-active kubelet");
    },
    LIMIT_MS,
  );
});
