import { expect, test } from "vitest";
import { askAgent } from "../../../src/libvirt/agent.ts";
import type { LibvirtClient } from "../../../src/libvirt/client/client.ts";
import { LibvirtFault } from "../../../src/libvirt/client/fault.ts";
import type { DomainRef } from "../../../src/libvirt/client/messages.ts";
import { LIBVIRT_ERROR } from "../../../src/libvirt/errors.ts";

const domain = { name: "one", uuid: "0".repeat(32), id: 1 } as unknown as DomainRef;

const answering = (result: string): LibvirtClient => ({ call: async () => ({ result }) }) as unknown as LibvirtClient;
const ask = async (client: LibvirtClient): Promise<unknown> =>
  await askAgent(client, domain, { execute: "guest-exec-status" }, new AbortController().signal);

test.each([
  ["of millions of values", `[${"{},".repeat(1_300_000)}{}]`],
  ["nested without end", "[".repeat(2_000_000) + "]".repeat(2_000_000)],
])("an answer %s is refused before it takes time", async (_what, value) => {
  const startedAtMs = performance.now();
  const asked = ask(answering(`{"return":{"exited":false,"more":${value}}}`));
  await expect(asked).rejects.toMatchObject({ failure: { code: "AGENT_REFUSED" }, message: /more than 20000 values/ });
  expect(performance.now() - startedAtMs).toBeLessThan(100);
});

test("an answer of one large value is taken", async () => {
  const content = Buffer.alloc(3_000_000, 7).toString("base64");
  expect(await ask(answering(JSON.stringify({ return: { count: 1, "buf-b64": content } })))).toMatchObject({
    count: 1,
  });
});

test.each([
  ["internalError", "AGENT_REFUSED"],
  ["agentUnresponsive", "AGENT_ABSENT"],
] as const)(
  "a guest that refuses by an %s says so in no words that a terminal would obey, and in few",
  async (name, code) => {
    const said = `unable to execute QEMU agent command 'guest-exec': \u001b]0;owned\u0007\r\n\u009b31m${"x".repeat(5_000)}`;
    const fault = { kind: "refused", procedure: "p", code: LIBVIRT_ERROR[name], domain: 10, level: 2 } as const;
    const client = {
      call: async () => {
        throw new LibvirtFault(fault, said);
      },
    } as unknown as LibvirtClient;
    const error: unknown = await ask(client).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ failure: { code } });
    const { message } = error as Error;
    expect(message).toMatch(/\\u001b\]0;owned\\u0007\\r\\n\\u009b31m/);
    expect(message).not.toMatch(/\p{Cc}/u);
    expect(message.length).toBeLessThan(700);
  },
);
