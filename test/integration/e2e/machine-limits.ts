// What this machine may lack: undefined, or the reason that a test is skipped, for its name.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";

export const whyNoSsh = existsSync("/usr/bin/ssh") ? undefined : "skipped: openssh-client is not installed";

export const whyNoCrictl = existsSync(".cache/bin/crictl")
  ? undefined
  : "skipped: crictl is not built, Go or its module proxy is missing";

export const whyNoIpv6 = whyIpv6CannotBe();

export const whyNoDebian = existsSync(".cache/guests/debian.qcow2")
  ? undefined
  : "skipped: make guests has not built it";

function whyIpv6CannotBe(): string | undefined {
  const path = "/proc/sys/net/ipv6/conf/all/disable_ipv6";
  if (!existsSync(path) || readFileSync(path, "utf8").trim() !== "0") return "skipped: this machine has no IPv6";
  const { status } = spawnSync("/usr/sbin/ip6tables", ["-t", "nat", "-S"]); // the portmap plugin needs it for IPv6 pods
  return status === 0 ? undefined : "skipped: ip6tables has no nat table here";
}
