// Where a registry is reached: mirrors, authorities and plain HTTP, from a folder laid out as containerd's certs.d.
//   <folder>/<host>/hosts.toml            or <host_port_>, or _default for all that have none
//   <folder>/<host>/*.crt *.cert *.key    without it: authorities, and a client's certificate, as docker has them

import { readdir, readFile } from "node:fs/promises";
import { dirname, isAbsolute, join } from "node:path";
import { parse } from "smol-toml";
import { z } from "zod";
import { errorCodeOf } from "../../lib/error-code.ts";
import { VmletError } from "../../model/failure.ts";

/** One place that answers for a registry. */
export interface Endpoint {
  /** Where its API begins, without a slash at the end: `https://quay.io/v2`. */
  readonly baseUrl: URL;
  /** Another host than the registry's own: it may answer for several, and is told for which. */
  readonly isOtherHost: boolean;
  /** Somebody else, who gets no credentials of the registry. */
  readonly isMirror: boolean;
  /** It may be asked what a tag means. */
  readonly canResolve: boolean;
  /** It may be asked for bytes by their digest. */
  readonly canPull: boolean;
  /** PEM files of authorities to trust besides the usual ones. */
  readonly caPaths: readonly string[];
  readonly clients: readonly { readonly certPath: string; readonly keyPath: string }[];
  readonly skipVerify: boolean;
  /** Sent to this place only. */
  readonly headers: Readonly<Record<string, readonly string[]>>;
  /** Empty: none, whatever the profile has. */
  readonly proxyUrl?: string;
}

const MAX_FILE_CHARS = 256 * 1024;
const FIELD = "images.registry.hostsFolderPath";

const oneOrMore = z
  .union([z.string(), z.array(z.string())])
  .transform((own) => (typeof own === "string" ? [own] : own));
const clients = z
  .union([z.string(), z.array(z.union([z.string(), z.array(z.string()).min(1).max(2)]))])
  .transform((own) =>
    (typeof own === "string" ? [own] : own).map((pair) => (typeof pair === "string" ? [pair] : pair)),
  );
const headerValue = z.string().regex(/^[\t\x20-\x7e]*$/, "has signs that no header can carry");
const headerValues = z
  .union([headerValue, z.array(headerValue)])
  .transform((own) => (typeof own === "string" ? [own] : own));
const hostTable = z.object({
  capabilities: z.array(z.string()).optional(),
  ca: oneOrMore.optional(),
  client: clients.optional(),
  skip_verify: z.boolean().optional(),
  override_path: z.boolean().optional(),
  header: z.record(z.string().regex(/^[A-Za-z0-9-]{1,100}$/), headerValues).optional(),
  /** Not containerd's, which passes over it. */
  proxy: z.union([z.url({ protocol: /^https?$/ }), z.literal("")]).optional(),
});
const hostsFile = hostTable.extend({
  server: z.string().optional(),
  host: z.record(z.string(), hostTable).optional(),
});

/**
 * The places to ask for images of `registry`, in order; the registry itself is the last.
 * @throws CONFIG_INVALID when its hosts.toml cannot be used
 */
export async function endpointsOf(registry: string, folderPath: string): Promise<readonly Endpoint[]> {
  for (const folder of [registry, registry.replace(/:(\d+)$/, "_$1_"), "_default"]) {
    const path = join(folderPath, folder, "hosts.toml");
    const text = await ifThere(path, async () => readFile(path, "utf8"));
    if (text === undefined) {
      const endpoint = await fromCertificates(registry, path);
      if (endpoint !== undefined) return [endpoint];
      continue;
    }
    try {
      return fromFile(registry, path, text);
    } catch (error) {
      throw broken(path, error instanceof z.ZodError ? wordsOf(error) : String(error), error);
    }
  }
  return [endpointOf(serverOf(registry), {}, { registry, path: "", isServer: true })];
}

function fromFile(registry: string, path: string, text: string): readonly Endpoint[] {
  if (text.length > MAX_FILE_CHARS) throw new Error("the file is too large");
  const { server, host: mirrors = {}, ...ownTable } = hostsFile.parse(parse(text));
  const own = server ?? serverOf(registry);
  const about = { registry, path };
  const named = Object.entries(mirrors).map(([url, table]) => endpointOf(url, table, about));
  return [...named, endpointOf(own, ownTable, { ...about, isServer: true })];
}

/** @param path Of the hosts.toml that is not there. */
async function fromCertificates(registry: string, path: string): Promise<Endpoint | undefined> {
  const files = (await ifThere(path, async () => readdir(dirname(path)))) ?? [];
  const ca = files.filter((file) => file.endsWith(".crt"));
  const clientCertificates = files.filter((file) => file.endsWith(".cert"));
  if (ca.length + clientCertificates.length === 0) return undefined;
  const client = clientCertificates.map((cert) => {
    const key = cert.replace(/cert$/, "key");
    return files.includes(key) ? [cert, key] : [cert];
  });
  return endpointOf(serverOf(registry), { ca, client }, { registry, path, isServer: true });
}

/** Docker Hub's API is at another host than its name. */
const serverOf = (registry: string): string =>
  `https://${registry === "docker.io" ? "registry-1.docker.io" : registry}`;

function endpointOf(
  text: string,
  table: z.output<typeof hostTable>,
  about: { readonly registry: string; readonly path: string; readonly isServer?: boolean },
): Endpoint {
  const url = new URL(text.includes("://") ? text : `https://${text}`);
  if (!/^https?:$/.test(url.protocol) || url.username !== "" || url.password !== "" || url.search !== "") {
    throw new Error(`${text} is not a plain http(s) URL`);
  }
  const path = url.pathname.replace(/\/+$/, "");
  url.pathname = table.override_path === true || path.endsWith("/v2") ? path : `${path}/v2`;
  const inFolder = (file: string): string => (isAbsolute(file) ? file : join(dirname(about.path), file));
  const ownHosts = [serverOf(about.registry), `https://${about.registry}`].map((own) => new URL(own).host);
  const isOtherHost = !ownHosts.includes(url.host);
  const capabilities = (table.capabilities ?? []).map((text) => text.toLowerCase());
  const can = (what: string): boolean => capabilities.length === 0 || capabilities.includes(what);
  return {
    baseUrl: url,
    isOtherHost,
    isMirror: isOtherHost && about.isServer !== true,
    canResolve: can("resolve"),
    canPull: can("pull"),
    caPaths: (table.ca ?? []).map(inFolder),
    // Containerd's documentation writes "" for a key that is in the certificate's file.
    clients: (table.client ?? []).map(([cert = "", key = ""]) => ({
      certPath: inFolder(cert),
      keyPath: inFolder(key === "" ? cert : key),
    })),
    skipVerify: table.skip_verify ?? false,
    headers: table.header ?? {},
    ...(table.proxy === undefined ? {} : { proxyUrl: table.proxy }),
  };
}

async function ifThere<T>(path: string, read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read();
  } catch (error) {
    const code = errorCodeOf(error);
    if (code === "ENOENT" || code === "ENOTDIR") return undefined;
    throw broken(path, "cannot be read", error);
  }
}

const wordsOf = ({ issues }: z.ZodError): string => `${issues[0]?.path.join(".") ?? ""}: ${issues[0]?.message ?? "?"}`;

function broken(path: string, why: string, cause: unknown): VmletError {
  return new VmletError({ code: "CONFIG_INVALID", path, field: FIELD }, `${path} (${FIELD}): ${why}`, { cause });
}
