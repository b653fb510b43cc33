// What went wrong with a download, in our words: which URL, why, and what to do about it.

import { VmletError } from "../model/failure.ts";

/** Without user name, password and query, which may carry secrets. */
function shownUrl(url: URL): string {
  return `${url.protocol}//${url.host}${url.pathname}${url.search === "" ? "" : "?…"}`;
}

/** An answer other than the image. */
export function refusedByStatus(image: string, url: URL, status: number): VmletError {
  const shown = shownUrl(url);
  if (status === 404 || status === 410) {
    return new VmletError(
      { code: "IMAGE_NOT_FOUND", image },
      `image ${image}: ${shown} answers ${status}: nothing there; check the name`,
    );
  }
  if (status === 429 || status >= 500) return unavailable(url, `answers ${status}; try again later`);
  if (status === 401 || status === 403 || status === 407) {
    return refused(url, status, `answers ${status}: it wants credentials that the node does not have`);
  }
  return refused(url, status, `answers ${status} instead of the image`);
}

/** The server gave an answer that must not be followed. */
export function refused(url: URL, status: number, why: string): VmletError {
  return new VmletError({ code: "IMAGE_SOURCE_REFUSED", url: shownUrl(url), status }, `${shownUrl(url)} ${why}`);
}

export function unavailable(url: URL, why: string, cause?: unknown): VmletError {
  return new VmletError(
    { code: "IMAGE_SOURCE_UNAVAILABLE", url: shownUrl(url) },
    `${shownUrl(url)} ${why}`,
    cause === undefined ? {} : { cause },
  );
}

/** A failure of the connection, told apart by the code that Node or undici gave it. */
export function unavailableBy(error: unknown, url: URL): VmletError {
  if (error instanceof VmletError) return error;
  const code = codeOf(error);
  const proxyStatus = error instanceof Error ? PROXY_ANSWER.exec(error.message)?.[1] : undefined;
  if (code === "UND_ERR_ABORTED" && proxyStatus !== undefined) {
    const remedy = proxyStatus === "407" ? ", which wants other credentials (proxyUrl, or proxy in hosts.toml)" : "";
    return unavailable(url, `cannot be reached: its proxy answers ${proxyStatus}${remedy}`, error);
  }
  return unavailable(url, REMEDIES.find(({ codes }) => codes.test(code))?.why ?? `cannot be read (${code})`, error);
}

/** What undici says, in its words only. */
const PROXY_ANSWER = /^Proxy response \((\d{3})\)/;

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return "unknown error";
  if ("code" in error && typeof error.code === "string") return error.code;
  if (error.name === "HTTPParserError") return "HPE_";
  return error.cause === undefined ? error.message : codeOf(error.cause);
}

const REMEDIES = [
  { codes: /^(ENOTFOUND|EAI_)/, why: "cannot be read: its host name is not known; check the name and the node's DNS" },
  { codes: /^ECONNREFUSED$/, why: "cannot be read: nothing listens there (connection refused)" },
  { codes: /^(EHOSTUNREACH|ENETUNREACH|EHOSTDOWN)$/, why: "cannot be read: the node has no route to it" },
  { codes: /^(UND_ERR_CONNECT_TIMEOUT|ETIMEDOUT)$/, why: "cannot be reached in time (connectTimeoutMs)" },
  { codes: /^UND_ERR_HEADERS_TIMEOUT$/, why: "does not answer in time (headersTimeoutMs)" },
  { codes: /^UND_ERR_BODY_TIMEOUT$/, why: "stopped sending (idleTimeoutMs); try again" },
  {
    codes: /^(UND_ERR_SOCKET|ECONNRESET|EPIPE|UND_ERR_RES_CONTENT_LENGTH_MISMATCH|UND_ERR_CLOSED|ECONNABORTED)$/,
    why: "was cut off before the end; try again",
  },
  { codes: /^CERT_HAS_EXPIRED$/, why: "has an expired TLS certificate" },
  {
    codes: /^(ERR_TLS_CERT_ALTNAME_INVALID)$/,
    why: "has a TLS certificate for another name; check the host, or set serverName in its profile",
  },
  {
    codes: /^(DEPTH_ZERO_SELF_SIGNED_CERT|SELF_SIGNED_CERT_IN_CHAIN|UNABLE_TO_|CERT_|ERR_TLS_CERT)/,
    why: "has a TLS certificate that the node does not trust; give its profile the authority (caPath)",
  },
  {
    codes: /^(EPROTO|ERR_SSL_|ERR_TLS_)/,
    why: "fails the TLS handshake; check the scheme, port and client certificate",
  },
  { codes: /^(HPE_|UND_ERR_HEADERS_OVERFLOW|UND_ERR_)/, why: "does not answer in valid HTTP" },
] as const;
