// Reads what the kernel knows of the pod's interface, for what a CNI result leaves out.

import { z } from "zod";
import type { Run } from "../lib/spawn.ts";
import type { Route } from "../model/attachment.ts";
import { VmletError } from "../model/failure.ts";
import { reasonOf } from "./network-config.ts";
import { type InterfaceFacts, parseCidr } from "./result.ts";

const linkSchema = z.array(z.looseObject({ address: z.string(), mtu: z.int() })).length(1);
const routesSchema = z.array(
  z.looseObject({ dst: z.string(), gateway: z.string().optional(), protocol: z.string().optional() }),
);

/** @throws TOOL_FAILED when the interface is not there. */
export async function readInterface(
  run: Run,
  netnsPath: string,
  interfaceName: string,
  signal: AbortSignal,
): Promise<Omit<InterfaceFacts, "routes">> {
  const [link] = linkSchema.parse(await ip(run, netnsPath, ["-j", "link", "show", "dev", interfaceName], signal));
  return { mac: link?.address ?? "", mtu: link?.mtu ?? 0 };
}

/** Routes that a plugin set without telling: not those that the kernel makes of an address. */
export async function readRoutes(
  run: Run,
  netnsPath: string,
  interfaceName: string,
  signal: AbortSignal,
): Promise<Route[]> {
  const routes: Route[] = [];
  for (const family of ["-4", "-6"] as const) {
    const args = [family, "-j", "route", "show", "dev", interfaceName];
    for (const { dst, gateway, protocol } of routesSchema.parse(await ip(run, netnsPath, args, signal))) {
      if (protocol === "kernel") continue;
      const destination = spell(dst, family);
      if (destination === undefined) continue;
      routes.push({ destination, ...(gateway === undefined ? {} : { gateway }) });
    }
  }
  return routes;
}

/** iproute2 says `default`, and a host's address without a prefix length. */
function spell(dst: string, family: "-4" | "-6"): string | undefined {
  if (dst === "default") return family === "-4" ? "0.0.0.0/0" : "::/0";
  const text = dst.includes("/") ? dst : `${dst}/${family === "-4" ? 32 : 128}`;
  return parseCidr(text) === undefined ? undefined : text;
}

/** By nsenter and not `ip -n`: that one takes names only, and makes a mount namespace each time. */
async function ip(run: Run, netnsPath: string, args: readonly string[], signal: AbortSignal): Promise<unknown> {
  const { exitCode, stdout, stderr } = await run("nsenter", [`--net=${netnsPath}`, "--", "ip", ...args], {}, signal);
  const fail = (why: string): VmletError =>
    new VmletError(
      { code: "TOOL_FAILED", tool: "ip", exitCode },
      `ip ${args.join(" ")} in ${netnsPath}: ${why.slice(0, 500)}`,
    );
  if (exitCode !== 0) throw fail(stderr.trim());
  const text = stdout.toString("utf8").trim();
  try {
    return text === "" ? [] : JSON.parse(text);
  } catch (error) {
    throw fail(reasonOf(error));
  }
}
