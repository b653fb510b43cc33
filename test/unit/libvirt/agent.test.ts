import { expect, test } from "vitest";
import { askAgent } from "../../../src/libvirt/agent.ts";
import type { LibvirtClient } from "../../../src/libvirt/client/client.ts";
import { LibvirtFault } from "../../../src/libvirt/client/fault.ts";
import type { DomainRef } from "../../../src/libvirt/client/messages.ts";
import { LIBVIRT_ERROR } from "../../../src/libvirt/errors.ts";

const domain = { name: "one", uuid: "0".repeat(32), id: 1 } as unknown as DomainRef;

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
    const asked = askAgent(client, domain, { execute: "guest-exec" }, new AbortController().signal);
    const error: unknown = await asked.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ failure: { code } });
    const { message } = error as Error;
    expect(message).toMatch(/\\u001b\]0;owned\\u0007\\r\\n\\u009b31m/);
    expect(message).not.toMatch(/\p{Cc}/u);
    expect(message.length).toBeLessThan(700);
  },
);
