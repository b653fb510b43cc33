// What clients type on serial consoles. QEMU's end takes one connection at a time: clients of a machine share it, and it
// is there only while one of them is, because a connection that nobody reads stops the guest.

import { createConnection, type Socket } from "node:net";
import { errorCodeOf } from "../lib/error-code.ts";
import { VmletError } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";

export interface ConsoleInput extends Disposable {
  /** Resolves when it is on its way to the guest; what is written at once stays together. */
  write(bytes: Buffer): Promise<void>;
}

interface Shared {
  readonly socket: Promise<Socket>;
  users: number;
}

/** One connection a machine. */
export class ConsoleInputs {
  readonly #shared = new Map<MachineId, Shared>();

  /** @throws WRONG_STATE when the machine's console takes no input. */
  async open(machineId: MachineId, socketPath: string): Promise<ConsoleInput> {
    const shared = this.#shared.get(machineId) ?? this.#connect(machineId, socketPath);
    shared.users += 1;
    let isOpen = true;
    const leave = (): void => {
      if (!isOpen) return;
      isOpen = false;
      shared.users -= 1;
      if (shared.users > 0) return;
      this.#forget(machineId, shared);
      shared.socket.then(
        (socket) => socket.end(),
        () => {},
      ); // what was typed last still goes
    };
    try {
      const socket = await shared.socket;
      return { write: (bytes) => write(socket, bytes), [Symbol.dispose]: leave };
    } catch (error) {
      leave();
      throw error;
    }
  }

  #connect(machineId: MachineId, socketPath: string): Shared {
    const shared: Shared = { socket: connect(machineId, socketPath), users: 0 };
    this.#shared.set(machineId, shared);
    shared.socket.then(
      (socket) => socket.on("close", () => this.#forget(machineId, shared)),
      () => this.#forget(machineId, shared),
    );
    return shared;
  }

  #forget(machineId: MachineId, shared: Shared): void {
    if (this.#shared.get(machineId) === shared) this.#shared.delete(machineId);
  }
}

async function connect(machineId: MachineId, socketPath: string): Promise<Socket> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = createConnection({ path: socketPath });
  socket.once("connect", resolve).on("error", reject);
  socket.resume(); // what the guest prints is taken from the file; here it is only kept from piling up
  try {
    await promise;
    return socket;
  } catch (error) {
    if (errorCodeOf(error) !== "ENOENT" && errorCodeOf(error) !== "ECONNREFUSED") throw error;
    throw new VmletError(
      { code: "WRONG_STATE", subject: "console", state: "without input" },
      `container ${machineId}: its console takes no input; attach without stdin, or use a domain template whose serial device is of type unix`,
      { cause: error },
    );
  }
}

async function write(socket: Socket, bytes: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  socket.write(bytes, (error) => (error ? reject(error) : resolve()));
  await promise;
}
