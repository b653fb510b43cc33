// Attach and port-forward on a real VM, by crictl: Go's own clients of SPDY and of WebSocket.

import { existsSync } from "node:fs";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { run } from "../../../src/lib/spawn.ts";
import { poll } from "../../node/poll.ts";
import { startTestNode, type TestNode } from "../../node/test-node.ts";
import { forwardedPort, startCrictl } from "./interactive.ts";
import { whyNoCrictl } from "./machine-limits.ts";
import { streamingPid } from "./streaming-pid.ts";
import { httpGet, VmPod } from "./vm-pod.ts";

const suite = AbortSignal.timeout(900_000);
const TRANSPORTS = ["spdy", "websocket"] as const;

describe.skipIf(whyNoCrictl !== undefined)(`streams by crictl (${whyNoCrictl ?? "over SPDY and WebSocket"})`, () => {
  let node: TestNode;
  let pod: VmPod;

  beforeAll(async () => {
    node = await startTestNode({ subnet6: "fd00:77:78:79" }, suite);
    pod = await VmPod.start(node, {}, suite);
    await pod.says("tiny: ready", suite);
    await httpGet(`http://${await pod.ip(suite)}/`, suite);
  }, 300_000);
  afterAll(async () => await node[Symbol.asyncDispose]());
  beforeEach(async () => await node.revive(suite));

  const attach = (transport: string, ...flags: string[]) =>
    startCrictl(node, ["attach", "--transport", transport, ...flags, pod.containerId]);

  test.each(TRANSPORTS)(
    "attach over %s: what is typed is run by the guest's shell, and shown, and logged",
    async (transport) => {
      await using terminal = attach(transport, "-i");
      await terminal.shows("tiny: ready"); // printed before we came
      terminal.type("\n"); // the console waits for Enter
      await poll(
        async () => (terminal.type("echo $((6*7))-seen\n"), terminal.shown().includes("42-seen") || undefined),
        WAIT("the shell"),
        suite,
      );
      await pod.says("42-seen", suite);
    },
  );

  test("two who are attached see the same and type on one line; one who is stopped disturbs nobody", async () => {
    await using one = attach("spdy", "-i");
    await using two = attach("websocket", "-i");
    await using stopped = attach("spdy", "-i");
    await Promise.all([one, two, stopped].map((each) => each.shows("42-seen")));
    process.kill(stopped.pid, "SIGSTOP");
    one.type("echo from-$((1+0))\n");
    await Promise.all([one.shows("from-1"), two.shows("from-1")]);
    two.type("i=0; while [ $i -lt 2000 ]; do echo flood-$i; i=$((i+1)); done\n");
    await Promise.all([one.shows("flood-1999"), two.shows("flood-1999"), pod.says("flood-1999", suite)]);
    process.kill(stopped.pid, "SIGCONT");
    await stopped.shows("flood-1999");
    const lines = (await pod.log()).split("\n").filter((line) => /^flood-\d+$/.test(line));
    expect(lines).toEqual(Array.from({ length: 2000 }, (_, index) => `flood-${index}`));
  });

  test.each(TRANSPORTS)(
    "port-forward over %s: the guest's page is served on the node, again and again",
    async (transport) => {
      await using forward = startCrictl(node, ["port-forward", "--transport", transport, pod.podId, "0:80"]);
      const port = await forwardedPort(forward);
      const pages = await Promise.all(Array.from({ length: 10 }, () => httpGet(`http://127.0.0.1:${port}/`, suite)));
      expect(new Set(pages).size).toBe(1);
      expect(pages[0]).toContain("tiny");
    },
  );

  test("logs -f shows what the guest prints while it runs", async () => {
    await using logs = startCrictl(node, ["logs", "-f", pod.containerId]);
    await logs.shows("tiny: ready");
    await using terminal = attach("spdy", "-i");
    terminal.type("echo followed-$((6*7))\n");
    await logs.shows("followed-42");
  });

  test("port-forward to a port on which the guest does not listen says so", async () => {
    await using forward = startCrictl(node, ["port-forward", pod.podId, "0:4"]);
    const port = await forwardedPort(forward);
    await run("/usr/bin/curl", ["-s", "-m", "60", `http://127.0.0.1:${port}/`], {}, suite);
    await forward.shows("connection refused");
  });

  test("the streaming process killed: streams end, CRI and the VM go on, and new streams work", async () => {
    await using terminal = attach("spdy", "-i");
    await terminal.shows("flood-1999");
    const pid = await streamingPid(node);
    process.kill(pid, "SIGKILL");
    await terminal.ended();
    expect((await pod.status(suite)).exitCode).toBe(0);
    await using again = attach("spdy", "-i"); // waits for the new process
    again.type("echo after-$((2+3))\n");
    await again.shows("after-5");
    expect(await streamingPid(node)).not.toBe(pid);
  });

  test("the daemon killed: its streaming process ends, the console is free for the next one, nothing is lost", async () => {
    await using before = attach("spdy", "-i");
    await before.shows("after-5");
    const pid = await streamingPid(node);
    before.type("(sleep 2; echo meanwhile-$((3+4))) &\n");
    await before.shows("meanwhile-$"); // as typed
    await node.kill(suite);
    await before.ended();
    await poll(async () => !existsSync(`/proc/${pid}`) || undefined, WAIT("the end of the streaming process"), suite);
    await node.start(suite);
    await using after = attach("websocket", "-i");
    await after.shows("meanwhile-7");
    after.type("echo typed-$((4+5))\n");
    await after.shows("typed-9");
    await pod.says("typed-9", suite);
  });

  test("a VM that powers off ends attach with success", async () => {
    await using terminal = attach("spdy", "-i");
    await terminal.shows("typed-9");
    terminal.type("poweroff\n");
    await terminal.shows("tiny: powering off");
    expect(await terminal.ended()).toBe(0);
    await pod.exited(suite);
    const refused = await node.crictl(["attach", "-i", pod.containerId], suite);
    expect([refused.exitCode, refused.stderr]).toEqual([1, expect.stringContaining("FailedPrecondition")]);
  });

  test("removed, nothing of it is left, its sockets included", async () => {
    await pod.remove(suite);
    expect(await node.leftovers(suite)).toEqual([]);
  });
});

const WAIT = (what: string) => ({ what, limitMs: 90_000, everyMs: 200 });
