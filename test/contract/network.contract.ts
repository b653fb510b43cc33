// What every Network must do, whatever is behind it.

import { describe, expect, test } from "vitest";
import { failsWith } from "../../src/model/failure.ts";
import type { Network, NetworkRequest } from "../../src/ports/network.ts";

export interface NetworkWorld extends AsyncDisposable {
  readonly network: Network;
  /** A new pod with a netns of its own. */
  newRequest(): Promise<NetworkRequest>;
  /** As a node reboot does: the netns is gone. */
  loseNetns(request: NetworkRequest): Promise<void>;
}

const LIMIT_MS = 20_000;
const soon = (): AbortSignal => AbortSignal.timeout(LIMIT_MS);

export function networkContract(name: string, makeWorld: () => Promise<NetworkWorld>): void {
  describe(`${name} as a Network`, () => {
    test("gives a pod an address, a MAC and an MTU", async () => {
      await using world = await makeWorld();
      const attachment = await world.network.attach(await world.newRequest(), soon());
      expect(attachment.interfaceName).toBe("eth0");
      expect(attachment.mac).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
      expect(attachment.mtu).toBeGreaterThanOrEqual(576);
      expect(attachment.addresses[0]?.address).toMatch(/^\d+\.\d+\.\d+\.\d+$/);
      expect(attachment.addresses[0]?.family).toBe(4);
    });

    test("answers a repeated attach with the first result", async () => {
      await using world = await makeWorld();
      const request = await world.newRequest();
      const first = await world.network.attach(request, soon());
      expect(await world.network.attach(request, soon())).toEqual(first);
    });

    test("gives two pods two addresses and two MACs", async () => {
      await using world = await makeWorld();
      const [one, two] = [await world.newRequest(), await world.newRequest()];
      const [first, second] = [await world.network.attach(one, soon()), await world.network.attach(two, soon())];
      expect(first.addresses[0]?.address).not.toBe(second.addresses[0]?.address);
      expect(first.mac).not.toBe(second.mac);
    });

    test("detaches twice, and detaches what was never attached", async () => {
      await using world = await makeWorld();
      const request = await world.newRequest();
      await world.network.detach(request, soon());
      await world.network.attach(request, soon());
      await world.network.detach(request, soon());
      await world.network.detach(request, soon());
      await expectNotAttached(world.network, request);
    });

    test("detaches a pod whose netns is gone", async () => {
      await using world = await makeWorld();
      const request = await world.newRequest();
      await world.network.attach(request, soon());
      await world.loseNetns(request);
      await world.network.detach(request, soon());
      await expectNotAttached(world.network, request);
    });

    test("finds an attached pod in order and a detached one not", async () => {
      await using world = await makeWorld();
      const request = await world.newRequest();
      await world.network.attach(request, soon());
      await world.network.check(request, soon());
      await world.network.detach(request, soon());
      await expectNotAttached(world.network, request);
    });

    test("rejects with the reason when aborted beforehand, and attaches nothing", async () => {
      await using world = await makeWorld();
      const request = await world.newRequest();
      const reason = new Error("the caller went away");
      await expect(world.network.attach(request, AbortSignal.abort(reason))).rejects.toBe(reason);
      await expectNotAttached(world.network, request);
    });

    test("says that it is ready, and on which network", async () => {
      await using world = await makeWorld();
      const status = await world.network.status();
      expect(status).toEqual({ isReady: true, network: expect.any(String) });
    });
  });
}

async function expectNotAttached(network: Network, request: NetworkRequest): Promise<void> {
  const error = await network.check(request, soon()).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(failsWith(error, "NETWORK_FAILED")).toBe(true);
}
