import { expect, test } from "vitest";
import { podSpecOf } from "../../../src/cri/convert-pod.ts";
import { PodSandboxConfig } from "../../../src/gen/runtime.ts";

const specOf = (name: string, hostname = "") =>
  podSpecOf(
    PodSandboxConfig.fromPartial({ metadata: { name, uid: "uid", namespace: "default", attempt: 0 }, hostname }),
    "",
    [],
  );

test.each([
  ["web-0", "web-0"],
  ["web.example", "web.example"],
  [`${"a".repeat(62)}-${"b".repeat(20)}`, "a".repeat(62)],
  ["PodSandbox_1", "PodSandbox-1"],
  ["a..b", "vm"],
  ["---", "vm"],
])("a pod %j that names no host is called %s in its guest", (name, hostname) => {
  expect(specOf(name).hostname).toBe(hostname);
});

test.each([
  ["kernel.shm_rmid_forced", "kernel/shm_rmid_forced"],
  ["net/ipv4/conf/eth0.1/forwarding", "net/ipv4/conf/eth0.1/forwarding"],
  ["net.ipv4.conf.eth0/1.forwarding", "net/ipv4/conf/eth0.1/forwarding"],
])("the sysctl %s is %s below /proc/sys", (name, path) => {
  const metadata = { name: "web", uid: "uid", namespace: "default", attempt: 0 };
  const config = PodSandboxConfig.fromPartial({ metadata, linux: { sysctls: { [name]: "1" } } });
  expect(podSpecOf(config, "", []).sysctls).toEqual({ [path]: "1" });
});

test.each([
  ["../../etc/passwd", "x"],
  ["kernel/../../etc/passwd", "x"],
  ["kernel", "1"],
  ["kernel.a;reboot", "1"],
  ["kernel.panic", "1\n2"],
])("a sysctl %j with the value %j is refused by name", (name, value) => {
  const metadata = { name: "web", uid: "uid", namespace: "default", attempt: 0 };
  const config = PodSandboxConfig.fromPartial({ metadata, linux: { sysctls: { [name]: value } } });
  expect(() => podSpecOf(config, "", [])).toThrow(/^config\.linux\.sysctls\["/);
});

test.each(["localhost", "1.2.3", "fe80::1%eth0"])("%j is no address for a port", (hostIp) => {
  const metadata = { name: "web", uid: "uid", namespace: "default", attempt: 0 };
  const config = PodSandboxConfig.fromPartial({
    metadata,
    portMappings: [{ containerPort: 80, hostPort: 80, hostIp }],
  });
  expect(() => podSpecOf(config, "", [])).toThrow(/^config\.port_mappings\[0\]\.host_ip: .* is not an IP address/);
});

test("a port is named by its place among all, those that the node does not open included", () => {
  const metadata = { name: "web", uid: "uid", namespace: "default", attempt: 0 };
  const of = (hostPort: number) => ({ containerPort: 80, hostPort });
  const config = (...ports: number[]) => PodSandboxConfig.fromPartial({ metadata, portMappings: ports.map(of) });
  expect(podSpecOf(config(0, 8080), "", []).portMappings).toMatchObject([{ hostPort: 8080 }]);
  expect(() => podSpecOf(config(0, 8080, -1), "", [])).toThrow(/^config\.port_mappings\[2\]\.host_port: -1/);
});

test.each(["var/log", "/var/log\0", `/${"x".repeat(4095)}`])(
  "a log folder that is no path is refused: %#",
  (logDirectory) => {
    const metadata = { name: "web", uid: "uid", namespace: "default", attempt: 0 };
    const config = PodSandboxConfig.fromPartial({ metadata, logDirectory });
    expect(() => podSpecOf(config, "", [])).toThrow(/^config\.log_directory: /);
  },
);

test("a host name that is named must be one", () => {
  expect(specOf("web", "other").hostname).toBe("other");
  expect(() => specOf("web", "not a host")).toThrow(/^config\.hostname: /);
});

test("the handlers that are configured are taken, and the empty one, and no other", () => {
  const metadata = { name: "web", uid: "uid", namespace: "default", attempt: 0 };
  const config = PodSandboxConfig.fromPartial({ metadata });
  for (const handler of ["", "machines", "big"])
    expect(podSpecOf(config, handler, ["machines", "big"]).runtimeHandler).toBe(handler);
  expect(() => podSpecOf(config, "vmlet", ["machines", "big"])).toThrow(
    'runtime_handler: "vmlet" is not known here; router.handlers has "machines", "big"',
  );
});
