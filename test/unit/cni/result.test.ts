import { expect, test } from "vitest";
import { parseResult, toAttachment } from "../../../src/cni/result.ts";

const FACTS = { mac: "02:00:00:00:00:99", mtu: 1442, routes: [{ destination: "10.0.0.0/8" }] };
const NAMES = { network: "test", interfaceName: "eth0" };
const convert = (result: unknown) => toAttachment("p", parseResult("p", JSON.stringify(result), "1.1.0"), NAMES, FACTS);

test("only the addresses of the pod's own end count, not those of the host's", () => {
  const { addresses, mac } = convert({
    interfaces: [
      { name: "cni0", mac: "02:00:00:00:00:01" },
      { name: "eth0", mac: "02:AA:00:00:00:02", sandbox: "/run/netns/x" },
    ],
    ips: [
      { address: "10.0.0.1/24", interface: 0 },
      { address: "10.0.0.7/24", gateway: "10.0.0.1", interface: 1 },
      { version: "6", address: "fd00::7/64", gateway: "", interface: 1 },
    ],
  });
  expect(mac).toBe("02:aa:00:00:00:02");
  expect(addresses).toEqual([
    { address: "10.0.0.7", prefixLength: 24, gateway: "10.0.0.1", family: 4 },
    { address: "fd00::7", prefixLength: 64, family: 6 },
  ]);
});

test("a result with the host's end alone still gives the pod its address, and the kernel the rest", () => {
  const result = { interfaces: [{ name: "cali1" }], ips: [{ address: "10.0.0.7/32", interface: 0 }] };
  expect(convert(result)).toEqual({
    network: "test",
    interfaceName: "eth0",
    mac: FACTS.mac,
    mtu: FACTS.mtu,
    addresses: [{ address: "10.0.0.7", prefixLength: 32, family: 4 }],
    routes: FACTS.routes,
  });
});

test("1.1.0 says the MTU of the interface and of a route", () => {
  const { mtu, routes } = convert({
    interfaces: [{ name: "eth0", sandbox: "x", mtu: 8951 }],
    ips: [{ address: "10.0.0.7/24" }],
    routes: [{ dst: "10.0.0.0/8", gw: "10.0.0.1", mtu: 1400 }],
  });
  expect(mtu).toBe(8951);
  expect(routes).toEqual([{ destination: "10.0.0.0/8", gateway: "10.0.0.1", mtu: 1400 }]);
});

test("a route without a gateway goes by that of the address of its family", () => {
  const { routes } = convert({
    ips: [{ address: "10.0.0.7/24", gateway: "10.0.0.1" }, { address: "fd00::7/64" }],
    routes: [{ dst: "0.0.0.0/0" }, { dst: "::/0" }],
  });
  expect(routes).toEqual([{ destination: "0.0.0.0/0", gateway: "10.0.0.1" }, { destination: "::/0" }]);
});

test.each([
  ["0.3.1", "4"],
  ["0.4.0", "4"],
  ["1.0.0", undefined],
] as const)("the next plugin of a %s chain gets an address with version %s", (version, spelled) => {
  const result = parseResult(
    "p",
    JSON.stringify({ cniVersion: "0.4.0", ips: [{ version: "4", address: "10.0.0.7/24" }] }),
    version,
  );
  expect(result.cniVersion).toBe(version);
  expect(result.ips[0]?.["version"]).toBe(spelled);
});

test("what a plugin adds of its own is passed on", () => {
  const result = parseResult("p", JSON.stringify({ ips: [], dns: { nameservers: ["10.0.0.1"] } }), "1.0.0");
  expect(result["dns"]).toEqual({ nameservers: ["10.0.0.1"] });
});

test.each([
  ["a MAC with a line break", { interfaces: [{ name: "eth0", mac: "02:00:00:00:00:01\n", sandbox: "x" }] }],
  ["a gateway that is a name", { ips: [{ address: "10.0.0.7/24", gateway: "router" }] }],
  ["a route to nowhere", { routes: [{ dst: "default" }] }],
  ["a prefix too long", { ips: [{ address: "10.0.0.7/33" }] }],
  ["a list too long", { ips: Array.from({ length: 65 }, () => ({ address: "10.0.0.7/24" })) }],
])("%s is refused", (_, result) => {
  expect(() => convert(result)).toThrow(/CNI plugin p: ADD printed what is not a CNI result/);
});

test("an address with a zone is refused: a guest's interfaces have other names", () => {
  const ips = [{ address: "fd00::7/64", gateway: "fe80::1%eth0" }];
  expect(() => convert({ ips })).toThrow(/ips\.0\.gateway/);
});
