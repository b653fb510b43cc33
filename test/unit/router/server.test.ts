import { subscribe, unsubscribe } from "node:diagnostics_channel";
import type { Server } from "node:net";
import { expect, test } from "vitest";
import { Site } from "./site.ts";

const LISTENING = "tracing:net.server.listen:asyncStart";

test("connections that cannot be taken are logged, each of them, and the next is", async () => {
  const servers: Server[] = [];
  const onListen = (message: unknown): void => void servers.push((message as { readonly server: Server }).server);
  subscribe(LISTENING, onListen);
  await using site = await Site.open();
  unsubscribe(LISTENING, onListen);
  const server = servers.find((one) => one.address() === site.socketPath);
  for (const _again of [1, 2]) server?.emit("error", new Error("accept EMFILE"));
  expect(site.log.lines.filter(({ message }) => message === "a connection could not be taken")).toHaveLength(2);
  expect((await site.client().call("Version")).runtimeName).toBe("containerd");
});
