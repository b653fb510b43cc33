// Connections to one endpoint, and to wherever it sends us: who is trusted there, and who we say we are.

import { readFile } from "node:fs/promises";
import { createSecureContext, getCACertificates, type SecureContext } from "node:tls";
import { Agent, type Dispatcher, ProxyAgent } from "undici";
import { VmletError } from "../../model/failure.ts";
import type { TransportProfile } from "../options.ts";
import type { RedirectGuard } from "../private-address.ts";
import type { Endpoint } from "./hosts.ts";

/** Dispose to close what is open. */
export interface Connections extends AsyncDisposable {
  /** A client certificate is a credential: it is shown to the endpoint alone. */
  dispatcherFor(url: URL): Dispatcher;
}

/** @param profile For what the endpoint's own settings leave open. @throws CONFIG_INVALID: files that cannot be read. */
export async function connectionsTo(
  endpoint: Endpoint,
  profile: TransportProfile,
  guard: RedirectGuard | undefined,
): Promise<Connections> {
  const trusted = await authoritiesOf(endpoint, profile);
  const [client] = endpoint.clients;
  const identity =
    client === undefined ? {} : { cert: await readPem(client.certPath), key: await readPem(client.keyPath) };
  const skipVerify = endpoint.skipVerify || profile.insecureSkipVerify;
  const open = (secureContext: SecureContext): Dispatcher =>
    dispatcher({ secureContext, rejectUnauthorized: !skipVerify }, endpoint, profile, guard);
  const own = open(createSecureContext({ ...trusted, ...identity }));
  const elsewhere = client === undefined ? own : open(createSecureContext(trusted));
  return {
    dispatcherFor: (url) => (url.origin === endpoint.baseUrl.origin ? own : elsewhere),
    [Symbol.asyncDispose]: async () => void (await Promise.all([own.destroy(), elsewhere.destroy()])),
  };
}

function dispatcher(
  tls: { readonly secureContext: SecureContext; readonly rejectUnauthorized: boolean },
  endpoint: Endpoint,
  profile: TransportProfile,
  guard: RedirectGuard | undefined,
): Dispatcher {
  const timeout = profile.connectTimeoutMs;
  const proxyUrl = endpoint.proxyUrl ?? profile.proxyUrl ?? "";
  // Behind a proxy it is the proxy that connects, and guards.
  if (proxyUrl !== "") return new ProxyAgent({ uri: proxyUrl, requestTls: tls, connect: { timeout } });
  return new Agent({ connect: { ...tls, timeout, ...(guard === undefined ? {} : { lookup: guard.lookup }) } });
}

/** An endpoint's authorities are trusted besides the usual ones: it may send us to storage that anyone knows. */
async function authoritiesOf(
  { caPaths }: Endpoint,
  { caPath }: TransportProfile,
): Promise<{ readonly ca?: (string | Buffer)[] }> {
  if (caPaths.length === 0 && caPath === undefined) return {};
  const own = await Promise.all([...caPaths, ...(caPath === undefined ? [] : [caPath])].map(readPem));
  return { ca: [...(caPath === undefined ? getCACertificates("default") : []), ...own] };
}

async function readPem(path: string): Promise<Buffer> {
  try {
    return await readFile(path);
  } catch (error) {
    throw new VmletError(
      { code: "CONFIG_INVALID", path, field: "images.registry.hostsFolderPath" },
      `${path}, which a hosts.toml or the default profile names, cannot be read`,
      { cause: error },
    );
  }
}
