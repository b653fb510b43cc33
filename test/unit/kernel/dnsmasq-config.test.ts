import { expect, test } from "vitest";
import { type DhcpFacts, renderDnsmasqConfig } from "../../../src/kernel/dnsmasq-config.ts";
import type { Attachment } from "../../../src/model/attachment.ts";

const DEFAULT = { destination: "0.0.0.0/0", gateway: "10.1.2.1" };
const ATTACHMENT: Attachment = {
  network: "test",
  interfaceName: "eth0",
  mac: "02:00:00:00:00:07",
  mtu: 1450,
  addresses: [{ address: "10.1.2.3", prefixLength: 24, gateway: "10.1.2.1", family: 4 }],
  routes: [DEFAULT],
};
const FACTS: DhcpFacts = {
  tapName: "vm0",
  attachment: ATTACHMENT,
  dns: { servers: ["10.96.0.10"], searches: ["svc.cluster.local"], options: [] },
  hostname: "web-0",
  pidFilePath: "/run/x.pid",
};
const render = (facts: Partial<DhcpFacts>): string[] => renderDnsmasqConfig({ ...FACTS, ...facts })?.split("\n") ?? [];
const withRoutes = (routes: Attachment["routes"], own: Partial<Attachment["addresses"][0]> = {}): string[] =>
  render({
    attachment: { ...ATTACHMENT, routes, addresses: ATTACHMENT.addresses.map((address) => ({ ...address, ...own })) },
  });

test("serves the one address to the one MAC, with what CNI gave", () => {
  expect(render({})).toEqual(
    expect.arrayContaining([
      "interface=vm0",
      "dhcp-range=10.1.2.3,10.1.2.3,255.255.255.0,infinite",
      "dhcp-host=02:00:00:00:00:07,10.1.2.3,infinite",
      "dhcp-option=12,web-0",
      "dhcp-ignore=tag:!known",
      "dhcp-option=3,10.1.2.1",
      "dhcp-option=6,10.96.0.10",
      "dhcp-option=119,svc.cluster.local",
      "dhcp-option=26,1450",
    ]),
  );
  expect(render({}).filter((line) => line.startsWith("dhcp-option=121"))).toEqual([]);
});

test("without a default route there is no router", () => {
  expect(withRoutes([])).toContain("dhcp-option=3");
});

test("other routes go into option 121, and the default route with them", () => {
  const lines = withRoutes([{ destination: "10.8.0.0/16", gateway: "10.1.2.9" }, DEFAULT]);
  expect(lines).toContain("dhcp-option=121,0.0.0.0/0,10.1.2.1,10.8.0.0/16,10.1.2.9");
  expect(lines).toContain("dhcp-option=3,10.1.2.1");
});

test("a destination on the link has no gateway", () => {
  expect(withRoutes([{ destination: "10.8.0.0/16" }])).toContain("dhcp-option=121,10.8.0.0/16,0.0.0.0");
});

test("a gateway outside the subnet is declared to be on the link first", () => {
  const routes = [{ destination: "169.254.1.1/32" }, { destination: "0.0.0.0/0", gateway: "169.254.1.1" }];
  const [declared] = withRoutes(routes, { prefixLength: 32 }).filter((line) => line.includes("=121,"));
  expect(declared).toBe("dhcp-option=121,169.254.1.1/32,0.0.0.0,0.0.0.0/0,169.254.1.1");
  const [undeclared] = withRoutes(routes.slice(1), { prefixLength: 32 }).filter((line) => line.includes("=121,"));
  expect(undeclared).toBe("dhcp-option=121,169.254.1.1/32,0.0.0.0,0.0.0.0/0,169.254.1.1");
});

test("nothing from outside can add a line or a value", () => {
  const lines = render({
    hostname: "web\ndhcp-script=/bin/sh",
    dns: {
      servers: ["10.0.0.1,6.6.6.6", "fd00::1", "x"],
      searches: ["a,b", "ok.example", "c\nport=53", ""],
      options: [],
    },
  });
  expect(lines).toContain("dhcp-option=119,ok.example");
  expect(lines).toContain("dhcp-option=6");
  expect(lines).toContain("dhcp-host=02:00:00:00:00:07,10.1.2.3,infinite");
  expect(lines.join("\n")).not.toMatch(/dhcp-option=12|script|port=53|6\.6\.6\.6/);
});

test("no line is longer than dnsmasq reads, however much is asked for", () => {
  const searches = Array.from({ length: 32 }, (_, index) => `${"a".repeat(60)}.search${index}.example`);
  const routes = Array.from({ length: 300 }, (_, index) => ({
    destination: `100.100.${index % 256}.128/25`,
    gateway: "100.200.200.200",
  }));
  const lines = render({
    dns: { servers: Array.from({ length: 99 }, () => "100.100.100.100"), searches, options: [] },
    attachment: { ...ATTACHMENT, routes },
  });
  expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(1000);
});

test("a pod without IPv4 needs no server", () => {
  expect(renderDnsmasqConfig({ ...FACTS, attachment: { ...ATTACHMENT, addresses: [] } })).toBeUndefined();
});
