// One SSH connection to one guest, on which many commands run at once.

import { constants } from "node:os";
import ssh2, { type Client, type ClientChannel, type ConnectConfig } from "ssh2";
import { untilAborted } from "../../lib/keyed-lock.ts";
import type { ExecKeys } from "./keys.ts";
import type { SshPort } from "./ssh-port.ts";

export interface TerminalRequest {
  readonly term: string;
  readonly cols: number;
  readonly rows: number;
}

/** A command that the guest has started. */
export interface Started {
  readonly channel: ClientChannel;
  /** Undefined before its end, and for good when the guest does not say it. */
  readonly exitCode: () => number | undefined;
}

/** What ssh2 grants to each channel. */
const WINDOW_BYTES = 2 << 20;
/** Requests of ssh2 that the guest has not answered, beside those of channels: one or two, unless the guest makes it ask. */
const MAX_UNANSWERED = 64;
/** A guest that is asked for a session and says nothing at all is not the one any more that let us in. */
const SILENCE_LIMIT_MS = 10_000;
const SILENCE_CHECK_MS = 500;

const OPTIONS: ConnectConfig = {
  authHandler: ["publickey"],
  algorithms: {
    serverHostKey: ["ssh-ed25519"],
    // All of these are in every OpenSSH since 2014. AES, because processors have it.
    cipher: ["aes128-gcm@openssh.com", "chacha20-poly1305@openssh.com", "aes128-ctr"],
    compress: ["none"],
  },
  readyTimeout: 0, // whoever opens a connection has a limit of its own
  keepaliveInterval: 10_000,
  keepaliveCountMax: 3,
};

/** True of an error of `exec` with which the guest cannot have started the command: it never opened a channel. */
export function isUnsent(error: unknown): boolean {
  return error instanceof Error && (error.message === "No response from server" || error.message === "Not connected");
}

/** Logs in. The port is the connection's from here on. @throws why it did not come about, or was ended */
export async function openSshConnection(
  port: SshPort,
  { user, keys }: { readonly user: string; readonly keys: ExecKeys },
): Promise<SshConnection> {
  const pinned = Buffer.from(keys.host.publicKey.split(" ")[1] ?? "", "base64");
  const client = new ssh2.Client();
  const ended = new AbortController();
  const { promise: ready, resolve, reject } = Promise.withResolvers<void>();
  const end = (error: Error): void => {
    ended.abort(error);
    reject(error);
    port.destroy();
  };
  client
    .on("ready", resolve)
    .on("error", end)
    .on("close", () => end(new Error("the guest closed the connection")));
  const { privateKey } = keys.client;
  const hostVerifier = (key: Buffer): boolean => key.equals(pinned);
  client.connect({ ...OPTIONS, sock: port, username: user, privateKey, hostVerifier });
  await ready;
  return new SshConnection(client, port, ended.signal);
}

export class SshConnection {
  readonly port: SshPort;
  /** Aborted when it is over; the reason says why. */
  readonly ended: AbortSignal;
  readonly #client: Client;
  readonly #channels = new Set<ClientChannel>();

  constructor(client: Client, port: SshPort, ended: AbortSignal) {
    this.#client = client;
    this.port = port;
    this.ended = ended;
    port.watch(() => this.#wrong());
  }

  /**
   * Starts a command: one line for the guest's shell.
   * @throws what ssh2 says; when the connection was lost, `isUnsent` tells whether the guest was asked at all
   */
  async exec(line: string, terminal: TerminalRequest | undefined, signal: AbortSignal): Promise<Started> {
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<Started>();
    let isGivenUp = false;
    this.#client.exec(line, terminal === undefined ? {} : { pty: terminal }, (error, channel) => {
      if (error) return reject(error);
      if (isGivenUp) channel.close();
      resolve(this.#started(channel));
    });
    const askedAtMs = performance.now();
    const watching = setInterval(() => {
      const silentMs = Math.min(this.port.silentMs, performance.now() - askedAtMs);
      if (silentMs > SILENCE_LIMIT_MS) this.port.destroy(new Error("the guest does not answer"));
    }, SILENCE_CHECK_MS);
    try {
      return await untilAborted(promise, signal); // ssh2 rejects it when the connection ends
    } catch (error) {
      isGivenUp = true;
      throw error;
    } finally {
      clearInterval(watching);
    }
  }

  close(): void {
    this.port.destroy();
  }

  /** Listens at once: the same piece of the connection may have the end of a short command, too. */
  #started(channel: ClientChannel): Started {
    let exitCode: number | undefined;
    this.#channels.add(channel);
    channel.once("close", () => this.#channels.delete(channel));
    channel.on("exit", (code: number | null, name?: string) => void (exitCode = exitCodeOf(code, name)));
    channel.on("error", () => {}); // its close tells
    return { channel, exitCode: () => exitCode };
  }

  /** Where ssh2 trusts a server to keep to its windows and not to make it ask without end, we do not. */
  #wrong(): string | undefined {
    const unanswered: unknown = Reflect.get(this.#client, "_callbacks");
    if (Array.isArray(unanswered) && unanswered.length > MAX_UNANSWERED) return "the guest asks for too much";
    for (const { readableLength, stderr } of this.#channels) {
      const heldBytes = readableLength + stderr.readableLength;
      if (heldBytes > 2 * WINDOW_BYTES) return `the guest sent ${heldBytes} bytes to a command that took none`;
    }
    return undefined;
  }
}

function exitCodeOf(code: number | null, signalName: string | undefined): number {
  if (code !== null) return code >= 0 && code <= 255 ? code : 255;
  const signals: Readonly<Record<string, number>> = constants.signals;
  const number = signals[signalName ?? ""];
  return number === undefined ? 255 : 128 + number;
}
