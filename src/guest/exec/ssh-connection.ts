// One SSH connection to one guest, on which many commands run at once.

import { constants } from "node:os";
import type { Readable } from "node:stream";
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
/** Of all sessions' output that nobody takes: a hundred windows full. */
const MAX_HELD_BYTES = 100 * WINDOW_BYTES;
/** Of one session's output that nobody takes: windows count bytes, and a guest may send them one by one. */
const MAX_PIECES = 1_024;
/** Sessions that we have closed and the guest has not. */
const MAX_LEFT_OPEN = 1_000;
/** Every SSH server takes 32 KiB at once. ssh2 would do what one asks for that takes nothing: send it nothing without end. */
const MIN_PACKET_BYTES = 4 << 10;
/** What the guest has not taken yet; above it commands' input waits. */
const BACKLOG_BYTES = 4 << 20;
/** Said in a minute in which nobody wants anything: beside an answer every ten seconds, what commands that were given up still say. */
const MAX_IDLE_BYTES = 32 << 20;
const IDLE_COUNT_MS = 60_000;
/** Each exchange takes us a millisecond; servers want one an hour or a gigabyte. */
const MIN_BETWEEN_KEYS_MS = 1_000;
/** While keys are exchanged nothing else may be sent. */
const KEYS_LIMIT_MS = 10_000;
/** A guest that is asked for a session and says nothing at all is not the one any more that let us in. */
const SILENCE_LIMIT_MS = 10_000;
const SILENCE_CHECK_MS = 500;

const OPTIONS: ConnectConfig = {
  authHandler: ["publickey"],
  algorithms: {
    // No group that the guest may choose: ssh2 tests its prime, and one of 10,000 bits keeps everybody waiting for a minute.
    kex: ["curve25519-sha256", "curve25519-sha256@libssh.org", "ecdh-sha2-nistp256"],
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
  /** Of them, those that nobody wants any more. */
  readonly #left = new Set<ClientChannel>();
  #idle = { sinceMs: 0, bytes: 0 };
  /** When keys were exchanged last, and since when they are now. */
  #keysAtMs = performance.now();
  #keysSinceMs: number | undefined;
  #exchanged = Promise.withResolvers<void>();

  constructor(client: Client, port: SshPort, ended: AbortSignal) {
    this.#client = client;
    this.port = port;
    this.ended = ended;
    client.on("handshake", () => this.#haveKeys());
    port.watch((bytes) => this.#wrong(bytes));
  }

  /** Resolves when more may be said to the guest. */
  async room(signal: AbortSignal): Promise<void> {
    // ssh2 keeps all that is to be sent meanwhile, and tells nobody.
    if (this.#isExchangingKeys) await untilAborted(this.#exchanged.promise, signal);
    if (this.port.backlogBytes > BACKLOG_BYTES) await this.port.drained(signal);
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
      const packetBytes = packetBytesOf(channel);
      if (packetBytes < MIN_PACKET_BYTES) return reject(this.#break(`the guest takes ${packetBytes} bytes at once`));
      resolve(this.#started(channel));
      if (isGivenUp) this.leave(channel);
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

  /** Closes a session. What the guest goes on sending for it is thrown away. */
  leave(channel: ClientChannel): void {
    for (const each of [channel, channel.stderr]) each.removeAllListeners("data").resume();
    channel.close();
    if (this.#channels.has(channel)) this.#left.add(channel);
  }

  get #isExchangingKeys(): boolean {
    const protocol = Reflect.get(this.#client, "_protocol") as object;
    return Reflect.get(protocol, "_kexinit") !== undefined;
  }

  #haveKeys(): void {
    const nowMs = performance.now();
    if (nowMs - this.#keysAtMs < MIN_BETWEEN_KEYS_MS) this.#break("the guest exchanges keys again and again");
    this.#keysAtMs = nowMs;
    this.#exchanged.resolve();
    this.#exchanged = Promise.withResolvers();
  }

  #break(why: string): Error {
    const error = new Error(why);
    this.port.destroy(error);
    return error;
  }

  /** Listens at once: the same piece of the connection may have the end of a short command, too. */
  #started(channel: ClientChannel): Started {
    let exitCode: number | undefined;
    this.#channels.add(channel);
    channel.once("close", () => {
      this.#channels.delete(channel);
      this.#left.delete(channel);
    });
    channel.on("exit", (code: number | null, name?: string) => void (exitCode = exitCodeOf(code, name)));
    channel.on("error", () => {}); // its close tells
    return { channel, exitCode: () => exitCode };
  }

  /** Where ssh2 trusts a server to keep to its windows and not to make it work without end, we do not. */
  #wrong(bytes: number): string | undefined {
    return this.#wrongTalk(bytes, performance.now()) ?? this.#wrongHeld();
  }

  #wrongTalk(bytes: number, nowMs: number): string | undefined {
    const isIdle = this.#channels.size === this.#left.size;
    if (!isIdle || nowMs - this.#idle.sinceMs > IDLE_COUNT_MS) this.#idle = { sinceMs: nowMs, bytes: 0 };
    this.#idle.bytes += bytes;
    if (this.#idle.bytes > MAX_IDLE_BYTES) return "the guest talks while nobody asks it anything";
    this.#keysSinceMs = this.#isExchangingKeys ? (this.#keysSinceMs ?? nowMs) : undefined;
    const isLate = this.#keysSinceMs !== undefined && nowMs - this.#keysSinceMs > KEYS_LIMIT_MS;
    return isLate ? "the guest does not come to an end of exchanging keys" : undefined;
  }

  #wrongHeld(): string | undefined {
    const unanswered: unknown = Reflect.get(this.#client, "_callbacks");
    if (Array.isArray(unanswered) && unanswered.length > MAX_UNANSWERED) return "the guest asks for too much";
    if (this.#left.size > MAX_LEFT_OPEN) return `the guest closes none of ${this.#left.size} sessions`;
    let allHeldBytes = 0;
    for (const channel of this.#channels) {
      const heldBytes = channel.readableLength + channel.stderr.readableLength;
      for (const each of [channel, channel.stderr]) mergePieces(each);
      allHeldBytes += heldBytes;
      if (heldBytes > 2 * WINDOW_BYTES) return `the guest sent ${heldBytes} bytes to a command that took none`;
    }
    if (allHeldBytes > MAX_HELD_BYTES) return `the guest sent ${allHeldBytes} bytes to commands that took none`;
    return undefined;
  }
}

/** Node keeps each piece by itself until it is read, which for one of a single byte takes hundreds. */
function mergePieces(output: Readable): void {
  const state = Reflect.get(output, "_readableState") as { buffer: Buffer[]; bufferIndex: number };
  if (state.buffer.length - state.bufferIndex < MAX_PIECES) return;
  state.buffer = [Buffer.concat(state.buffer.slice(state.bufferIndex))];
  state.bufferIndex = 0;
}

/** What the guest says that it takes at once. */
function packetBytesOf(channel: ClientChannel): number {
  const { packetSize } = Reflect.get(channel, "outgoing") as { packetSize: number };
  return packetSize;
}

function exitCodeOf(code: number | null, signalName: string | undefined): number {
  if (code !== null) return code >= 0 && code <= 255 ? code : 255;
  const signals: Readonly<Record<string, number>> = constants.signals;
  const number = signals[signalName ?? ""];
  return number === undefined ? 255 : 128 + number;
}
