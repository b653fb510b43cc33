// What clients type on serial consoles. QEMU's end takes one connection at a time, and while there is one, it may print
// twice what a reader that is not quick enough has no room for: so a connection is made for each piece that is typed, and
// lasts until QEMU has read it.

import { access } from "node:fs/promises";
import { createConnection } from "node:net";
import { errorCodeOf } from "../lib/error-code.ts";
import { KeyedLock } from "../lib/keyed-lock.ts";
import { VmletError } from "../model/failure.ts";
import type { MachineId } from "../model/ids.ts";

export interface ConsoleInput {
  /** Resolves when QEMU has read it; what is written at once stays together. Aborting gives up what is not sent yet. */
  write(bytes: Buffer, signal: AbortSignal): Promise<void>;
}

/** All that is typed on this node: pieces of one machine go one after the other. */
export class ConsoleInputs {
  readonly #turns = new KeyedLock();

  /** @throws WRONG_STATE when the machine's console takes no input. */
  async open(machineId: MachineId, socketPath: string): Promise<ConsoleInput> {
    try {
      await access(socketPath);
    } catch (error) {
      if (errorCodeOf(error) !== "ENOENT") throw error;
      throw new VmletError(
        { code: "WRONG_STATE", subject: "console", state: "without input" },
        `container ${machineId}: its console takes no input; attach without stdin, or use a domain template whose serial device is of type unix`,
        { cause: error },
      );
    }
    return {
      write: async (bytes, signal) => {
        if (bytes.length > 0) await this.#turns.run(machineId, async () => send(socketPath, bytes), signal);
      },
    };
  }
}

/** A guest that takes no input makes this wait until its machine ends. */
async function send(path: string, bytes: Buffer): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const socket = createConnection({ path });
  socket.on("error", reject).on("close", () => resolve());
  socket.resume(); // what the guest prints is taken from the file; here it is only kept from piling up
  socket.end(bytes);
  await promise;
}
