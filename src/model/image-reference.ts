// Image names: docker references as Kubernetes reads them, and the URLs that names under vmlet.dev/ stand for.

import { VmletError } from "./failure.ts";
import { type ImageDigest, isImageDigest } from "./ids.ts";

/** A parsed name. Without tag and digest in the text, `tag` is `latest`; with a digest alone there is no tag. */
export interface ImageReference {
  /** Normalised, without tag and digest: `docker.io/library/debian`, `vmlet.dev/https/host/path`. */
  readonly name: string;
  readonly tag?: string;
  readonly digest?: ImageDigest;
}

// The grammar is that of github.com/distribution/reference v0.6.0, which the kubelet and crictl use.
const DOMAIN_LABEL = "(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])";
const DOMAIN = new RegExp(`^(?:${DOMAIN_LABEL}(?:\\.${DOMAIN_LABEL})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const PATH_PART = /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*$/;
const TAG = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$/;
const BARE_ID = /^[0-9a-f]{64}$/;
const MAX_PATH_LENGTH = 255;
/** Domain (255), path (255), tag (128), digest (71) and separators: what is longer is no name. */
const MAX_TEXT_LENGTH = 720;

/**
 * Reads a docker reference: default domain docker.io, `library/` for its short names, default tag `latest`.
 * @throws IMAGE_REFERENCE_INVALID
 */
export function parseReference(text: string): ImageReference {
  if (text === "") throw malformed(text, "the name is empty");
  if (text.length > MAX_TEXT_LENGTH) throw malformed(text, `longer than ${MAX_TEXT_LENGTH} characters`);
  if (BARE_ID.test(text)) throw malformed(text, "64 hex characters are an image id, not a name");
  if (/^https?:\/\//i.test(text)) {
    throw malformed(text, "a URL is not an image name; write vmlet.dev/https/<host>/<path>, or map a name to the URL");
  }
  const at = text.indexOf("@");
  const digest = at < 0 ? undefined : parseDigest(text, text.slice(at + 1));
  const named = at < 0 ? text : text.slice(0, at);
  const colon = named.lastIndexOf(":");
  const hasTag = colon > named.lastIndexOf("/");
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  if (tag !== undefined && !TAG.test(tag)) throw malformed(text, `${quote(tag)} is not a tag`);
  const name = normalise(text, hasTag ? named.slice(0, colon) : named);
  if (digest !== undefined) return tag === undefined ? { name, digest } : { name, tag, digest };
  return { name, tag: tag ?? "latest" };
}

/**
 * How a reference is recorded and shown: `name@digest` when there is a digest (the tag is then dropped, as container
 * runtimes do), else `name:tag`.
 */
export function formatReference({ name, tag, digest }: ImageReference): string {
  return digest === undefined ? `${name}:${tag ?? "latest"}` : `${name}@${digest}`;
}

const URL_NAME = /^vmlet\.dev\/(https?)\/([^/]+)\/(.+)$/;
const URL_HOST = /^([a-z0-9]+(?:[.-]+[a-z0-9]+)*)(?:__([1-9][0-9]{0,4}))?$/;

/**
 * The URL behind `vmlet.dev/https/<host>/<path>` (`host__8443` for a port); the tag plays no part in it.
 * Undefined: the name is not of that kind. The grammar of names leaves no room for credentials, query, escapes or `..`.
 * @throws IMAGE_REFERENCE_INVALID for a broken one, and for `/http/` unless allowed.
 */
export function sourceUrlOf(reference: ImageReference, { allowHttp }: { allowHttp: boolean }): URL | undefined {
  const text = formatReference(reference);
  const [, scheme, host, path] = URL_NAME.exec(reference.name) ?? [];
  if (scheme === undefined || host === undefined || path === undefined) {
    if (!/^vmlet\.dev\/https?(?:\/|$)/.test(reference.name)) return undefined;
    throw malformed(text, "vmlet.dev/https/ needs a host and a path after it");
  }
  if (scheme === "http" && !allowHttp) {
    throw malformed(text, "plain http is not allowed on this node; use /https/, or set images.allowHttp");
  }
  const authority = plainHostOf(host);
  if (authority === undefined) {
    throw malformed(text, `${quote(host)} is not a host in its plain spelling; a port is written host__8443`);
  }
  const url = new URL(`${scheme}://${authority}/${path}`);
  if (url.pathname !== `/${path}`) throw malformed(text, `${quote(path)} is not a path in its plain spelling`);
  return url;
}

/** `host` or `host:port` of its spelling in a name, `host__port`; undefined if it is none. */
export function plainHostOf(text: string): string | undefined {
  const [, hostName, port] = URL_HOST.exec(text) ?? [];
  const authority = port === undefined ? hostName : `${hostName}:${port}`;
  if (hostName === undefined || !URL.canParse(`http://${authority}`)) return undefined;
  // The URL parser turns spellings such as 0x7f.1 into another host: what is asked is not what is read.
  return new URL(`http://${authority}`).hostname === hostName ? authority : undefined;
}

function parseDigest(text: string, digest: string): ImageDigest {
  if (isImageDigest(digest)) return digest;
  throw malformed(text, `${quote(digest)} is not a digest; only sha256: and 64 lower-case hex characters are known`);
}

function normalise(text: string, named: string): string {
  const { domain, path } = splitDomain(named);
  if (!DOMAIN.test(domain)) throw malformed(text, `${quote(domain)} is not a host`);
  if (path.length > MAX_PATH_LENGTH) throw malformed(text, `the path is longer than ${MAX_PATH_LENGTH} characters`);
  if (path !== path.toLowerCase()) {
    throw malformed(text, "a name is lower case; for a URL with capitals map a name to it (images.translations)");
  }
  const bad = path.split("/").find((part) => !PATH_PART.test(part));
  if (bad === undefined) return `${domain}/${path}`;
  throw malformed(text, `${quote(bad)} is not a part of a name (a-z, 0-9, and single . _ __ - between them)`);
}

function splitDomain(named: string): { readonly domain: string; readonly path: string } {
  const slash = named.indexOf("/");
  const first = named.slice(0, Math.max(slash, 0));
  const isDomain = slash >= 0 && (/[.:]/.test(first) || first === "localhost" || first !== first.toLowerCase());
  const domain = isDomain && first !== "index.docker.io" ? first : "docker.io";
  const path = isDomain ? named.slice(slash + 1) : named;
  return { domain, path: domain === "docker.io" && !path.includes("/") ? `library/${path}` : path };
}

const quote = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text);

function malformed(image: string, why: string): VmletError {
  const shown = image.length > 300 ? `${image.slice(0, 300)}…` : image;
  return new VmletError({ code: "IMAGE_REFERENCE_INVALID", image: shown }, `image ${quote(shown)}: ${why}`);
}
