// A guest that serves ssh on a unix socket, as one behind a machine's port: one connection at a time, commands are
// child processes of this one. It has no terminals; what is asked of them is only remembered.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtempDisposable } from "node:fs/promises";
import { createServer, type Server as NetServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import ssh2, { type Connection, type ServerChannel, type Session } from "ssh2";
import { type ExecKeys, ensureExecKeys } from "../../src/guest/exec/keys.ts";
import type { MachineId } from "../../src/model/ids.ts";
import type { GuestTarget } from "../../src/ports/guest-exec.ts";

/** Of ssh2's inside: what sends without asking whether it may. */
export interface RawProtocol {
  channelData(channelId: number, data: Buffer): void;
  channelClose(channelId: number): void;
  channelWindowAdjust(channelId: number, bytes: number): void;
  /** Begins an exchange of keys. */
  rekey(): void;
  channelOpenConfirm(remoteId: number, localId: number, windowBytes: number, packetBytes: number): void;
  readonly _packetRW: {
    readonly write: { readonly allocStart: number; alloc(bytes: number): Buffer; finalize(packet: Buffer): Buffer };
  };
  readonly _cipher: { encrypt(packet: Buffer): void };
}

/** A message of SSH as it is, by its payload. */
export function sendRaw({ _packetRW: { write }, _cipher: cipher }: RawProtocol, payload: Buffer): void {
  const packet = write.alloc(payload.length);
  packet.set(payload, write.allocStart);
  cipher.encrypt(write.finalize(packet));
}

export interface SshGuestOptions {
  /** What is done with a connection instead of serving ssh on it. */
  readonly answer?: (socket: Socket) => void;
  /** Said before the ssh server's greeting. */
  readonly noise?: Uint8Array;
  /** Whether it lets the user in; by default all who have the key. */
  readonly admits?: (user: string) => boolean;
  /** Other than the pinned one. */
  readonly hostKey?: string;
  /** What it says that it takes at once. */
  readonly packetBytes?: number;
  /** What its ssh server calls itself. */
  readonly ident?: string;
  /** By which ways it exchanges keys. */
  readonly kex?: ssh2.Algorithms["kex"];
}

export class SshGuest implements AsyncDisposable {
  readonly target: GuestTarget;
  /** Of terminals: as they were asked for, then as they were changed. */
  readonly sizes: { cols: number; rows: number }[] = [];
  readonly lines: string[] = [];
  connections = 0;
  options: SshGuestOptions;
  readonly #server: NetServer;
  readonly #sockets = new Set<Socket>();
  readonly #children = new Set<ChildProcess>();
  readonly #keys: ExecKeys;
  readonly #firstChannel = Promise.withResolvers<{ channel: ServerChannel; protocol: RawProtocol }>();
  readonly #release: () => Promise<void>;

  private constructor(folder: { path: string; remove(): Promise<void> }, keys: ExecKeys, options: SshGuestOptions) {
    this.options = options;
    this.#keys = keys;
    const socketPath = join(folder.path, "ssh.sock");
    const machineId = "b".repeat(64) as MachineId;
    this.target = { machineId, way: "ssh", user: "root", ssh: { socketPath, keyFolderPath: folder.path } };
    this.#server = createServer((socket) => this.#serve(socket));
    this.#server.listen(socketPath);
    this.#release = async () => await folder.remove();
  }

  static async start(options: SshGuestOptions = {}): Promise<SshGuest> {
    const folder = await mkdtempDisposable(join(tmpdir(), "vmlet-"));
    const guest = new SshGuest(folder, await ensureExecKeys(folder.path), options);
    await new Promise((resolve) => guest.#server.once("listening", resolve));
    return guest;
  }

  /** The first command's channel, with what lets a test break the protocol. */
  get firstChannel(): Promise<{ readonly channel: ServerChannel; readonly protocol: RawProtocol }> {
    return this.#firstChannel.promise;
  }

  /** Commands that run now. */
  get running(): number {
    return this.#children.size;
  }

  /** The guest reboots, or its sshd is killed: everything of the connection is gone, and commands go on. */
  dropConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  get isConnected(): boolean {
    return this.#sockets.size > 0;
  }

  /** Said by it, and not taken by the host. */
  get unsentBytes(): number {
    return [...this.#sockets].reduce((sum, { writableLength }) => sum + writableLength, 0);
  }

  /** What is sent to it waits in the system, then at the sender. */
  stopReading(): void {
    for (const socket of this.#sockets) socket.pause();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dropConnections();
    for (const child of this.#children) if (child.pid !== undefined) killGroup(child.pid);
    await new Promise((resolve) => this.#server.close(resolve));
    await this.#release();
  }

  #serve(socket: Socket): void {
    this.connections += 1;
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => this.#sockets.delete(socket));
    const { answer } = this.options;
    if (answer === undefined) this.serve(socket);
    else answer(socket);
  }

  /** From now on it serves ssh on a connection that it has. */
  serve(socket: Socket): void {
    const {
      noise,
      packetBytes,
      ident = "guest",
      kex,
      admits = () => true,
      hostKey = this.#keys.host.privateKey,
    } = this.options;
    if (noise !== undefined) socket.write(noise);
    const ours = ssh2.utils.parseKey(this.#keys.client.publicKey);
    if (ours instanceof Error) throw ours;
    const algorithms = kex === undefined ? {} : { algorithms: { kex } };
    const server = new ssh2.Server({ hostKeys: [hostKey], ident, ...algorithms }, (connection: Connection) => {
      connection.on("error", () => {});
      connection.on("authentication", (asked) => {
        const isOurs = asked.method === "publickey" && asked.key.data.equals(ours.getPublicSSH());
        if (isOurs && admits(asked.username)) asked.accept();
        else asked.reject(["publickey"]);
      });
      const protocol = Reflect.get(connection, "_protocol") as RawProtocol;
      if (packetBytes !== undefined) {
        const confirm = protocol.channelOpenConfirm.bind(protocol);
        protocol.channelOpenConfirm = (remoteId, localId, windowBytes) =>
          confirm(remoteId, localId, windowBytes, packetBytes);
      }
      connection.on("session", (accept) => this.#session(accept(), connection));
    });
    server.injectSocket(socket);
  }

  #session(session: Session, connection: Connection): void {
    let hasTerminal = false;
    session.on("pty", (accept, _reject, { cols, rows }) => {
      hasTerminal = true;
      this.sizes.push({ cols, rows });
      accept();
    });
    session.on("window-change", (_accept, _reject, { cols, rows }) => void this.sizes.push({ cols, rows }));
    session.on("exec", (accept, _reject, { command }) => {
      this.lines.push(command);
      const channel = accept();
      this.#firstChannel.resolve({ channel, protocol: Reflect.get(connection, "_protocol") as RawProtocol });
      this.#run(command, channel, { hasTerminal });
    });
  }

  /** With a terminal, errors come among the output, as they do on a real one. */
  #run(line: string, channel: ServerChannel, { hasTerminal }: { readonly hasTerminal: boolean }): void {
    const child = spawn("/bin/sh", ["-c", line], { stdio: ["pipe", "pipe", "pipe"], detached: true });
    this.#children.add(child);
    child.stdin.on("error", () => {}); // a command may leave its input unread
    channel.on("error", () => {});
    channel.pipe(child.stdin);
    child.stdout.pipe(channel, { end: false });
    child.stderr.pipe(hasTerminal ? channel : channel.stderr, { end: false });
    child.on("close", (code, signal) => {
      this.#children.delete(child);
      if (signal === null) channel.exit(code ?? 0);
      else channel.exit(signal.slice("SIG".length), false, "");
      channel.stderr.end(() => channel.end()); // closes when all of both is sent
    });
  }
}

function killGroup(pid: number): void {
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // It ended by itself.
  }
}
