import { once } from "node:events";
import { createServer } from "node:net";
import { Registry } from "prom-client";
import { expect, test } from "vitest";
import { serveMetrics } from "../../../src/telemetry/metrics-server.ts";
import { keptLog } from "../../fakes/kept-log.ts";

const ANY = { host: "127.0.0.1", port: 0 };

async function served(whyNotReady: () => Promise<string | undefined> = async () => undefined, listen = ANY) {
  const log = keptLog();
  const server = serveMetrics(listen, { registry: new Registry(), whyNotReady, log });
  const said = () => log.lines.find(({ message }) => message === "metrics served")?.fields["url"];
  const get = async (path: string, init: RequestInit = {}) => {
    await expect.poll(said).toBeDefined();
    const response = await fetch(new URL(path, String(said())), init);
    return { status: response.status, text: await response.text() };
  };
  return { get, log, [Symbol.asyncDispose]: async () => await server[Symbol.asyncDispose]() };
}

test("ready is 503 with the reason until there is none, healthy is 200 all the time", async () => {
  let why: string | undefined = "libvirtd is away";
  await using under = await served(async () => why);
  expect(await under.get("/readyz")).toEqual({ status: 503, text: "libvirtd is away\n" });
  expect(await under.get("/healthz")).toEqual({ status: 200, text: "ok\n" });
  why = undefined;
  expect(await under.get("/readyz?verbose")).toEqual({ status: 200, text: "ok\n" });
});

test("a reason of several lines, or with controls in it, is one clean line", async () => {
  await using under = await served(async () => "libvirtd:\n\u001b[2Jboo");
  expect((await under.get("/readyz")).text).toBe("libvirtd:\\n\\u001b[2Jboo\n");
});

test("other paths are 404, other methods 405, and a question that fails is no crash", async () => {
  await using under = await served(async () => Promise.reject(new Error("unforeseen")));
  expect((await under.get("/")).status).toBe(404);
  expect((await under.get("/metrics", { method: "POST", body: "x" })).status).toBe(405);
  expect((await under.get("/metrics", { method: "HEAD" })).status).toBe(200);
  await expect(under.get("/readyz")).rejects.toThrow();
  expect((await under.get("/healthz")).status).toBe(200);
});

test("a taken port is logged and waited for", async () => {
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  const { port } = other.address() as { port: number };
  await using under = await served(undefined, { host: "127.0.0.1", port });
  await expect.poll(() => under.log.lines.map(({ level }) => level)).toContain("error");
  other.close();
  await expect.poll(async () => (await under.get("/healthz")).status, { timeout: 10_000 }).toBe(200);
});

test("off serves nothing, and a port that never comes free holds nobody up", async () => {
  await using _off = serveMetrics("off", {
    registry: new Registry(),
    whyNotReady: async () => undefined,
    log: keptLog(),
  });
  const other = createServer().listen(0, "127.0.0.1");
  await once(other, "listening");
  {
    const { port } = other.address() as { port: number };
    await using under = await served(undefined, { host: "127.0.0.1", port });
    await expect.poll(() => under.log.lines.length).toBeGreaterThan(0);
  }
  other.close();
});
