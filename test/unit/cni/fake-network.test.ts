import { newPodId } from "../../../src/model/ids.ts";
import { networkContract } from "../../contract/network.contract.ts";
import { FakeNetwork } from "../../fakes/network.ts";

networkContract("the fake", async () => ({
  network: new FakeNetwork(),
  newRequest: async () => ({
    podId: newPodId(),
    netnsPath: "/run/netns/fake",
    pod: { name: "web", namespace: "default", uid: "u-1" },
    portMappings: [],
    dns: { servers: [], searches: [], options: [] },
  }),
  loseNetns: async () => {},
  [Symbol.asyncDispose]: async () => {},
}));
