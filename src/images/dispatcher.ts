// How a profile's TLS, proxy and time limits become connections.

import { readFile } from "node:fs/promises";
import { Agent, type Dispatcher, ProxyAgent } from "undici";
import { VmletError } from "../model/failure.ts";
import type { TransportProfile } from "./options.ts";
import type { RedirectGuard } from "./private-address.ts";

/** To be destroyed by the caller. @throws CONFIG_INVALID when one of the profile's files cannot be read. */
export async function dispatcherOf(profile: TransportProfile, guard?: RedirectGuard): Promise<Dispatcher> {
  const tls = {
    rejectUnauthorized: !profile.insecureSkipVerify,
    ...(profile.caPath === undefined ? {} : { ca: await readProfileFile(profile.caPath, "caPath") }),
    ...(profile.clientCertPath === undefined
      ? {}
      : { cert: await readProfileFile(profile.clientCertPath, "clientCertPath") }),
    ...(profile.clientKeyPath === undefined
      ? {}
      : { key: await readProfileFile(profile.clientKeyPath, "clientKeyPath") }),
    ...(profile.serverName === undefined ? {} : { servername: profile.serverName }),
  };
  const connect = { ...tls, timeout: profile.connectTimeoutMs };
  // Behind a proxy it is the proxy that connects, and guards.
  if (profile.proxyUrl === undefined) {
    return new Agent({ connect: guard === undefined ? connect : { ...connect, lookup: guard.lookup } });
  }
  return new ProxyAgent({ uri: profile.proxyUrl, requestTls: tls, connect: { timeout: profile.connectTimeoutMs } });
}

async function readProfileFile(path: string, field: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new VmletError(
      { code: "CONFIG_INVALID", path, field: `images.profiles.*.${field}` },
      `${field} of a profile in images.profiles cannot be read: ${path}`,
      { cause: error },
    );
  }
}
