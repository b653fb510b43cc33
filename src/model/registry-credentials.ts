// What a registry wants to see before it serves a private image.

/** As the kubelet passes it for one pull. Secrets: never logged, never stored. */
export interface RegistryCredentials {
  readonly username?: string;
  readonly password?: string;
  /** Exchanged for a token at the registry's token server (OAuth 2 refresh token). */
  readonly identityToken?: string;
  /** Sent to the registry as it is. */
  readonly registryToken?: string;
  /** The registry they are for: a host or a URL; absent: the one that the image's name tells. */
  readonly serverAddress?: string;
}

/** `auth` of docker: base64 of `user:password`. Undefined: it is not that. */
export function decodeAuth(auth: string): { readonly username: string; readonly password: string } | undefined {
  const text = Buffer.from(auth, "base64").toString("utf8").replace(/\0+$/, ""); // some tools pad with NULs
  const colon = text.indexOf(":");
  return colon < 0 ? undefined : { username: text.slice(0, colon), password: text.slice(colon + 1) };
}
