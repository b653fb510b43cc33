// A daemon that says what it is told to say, on a socket of its own.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Server, ServerCredentials, type ServerWritableStream, type ServiceError } from "@grpc/grpc-js";
import type { Image, Machine, PullProgress, PullRequest, PullResponse } from "../../src/gen/vmlet.ts";
import { type VmletServer, VmletService } from "../../src/gen/vmlet.ts";

export class FakeVmletServer implements AsyncDisposable {
  readonly socketPath: string;
  images: Image[] = [];
  pulls: PullProgress[] = [];
  machines: Machine[] = [];
  /** Answers Pull; by default it never ends. */
  onPull: (call: ServerWritableStream<PullRequest, PullResponse>) => void = () => {};
  /** What each call fails with, while there is something. */
  failure: Pick<ServiceError, "code" | "details"> | undefined;
  readonly #folderPath: string;
  readonly #server = new Server();

  private constructor(folderPath: string) {
    this.#folderPath = folderPath;
    this.socketPath = join(folderPath, "vmlet.sock");
    const implementation: VmletServer = {
      listImages: (_call, callback) => callback(this.failure ?? null, { images: this.images }),
      listPulls: (_call, callback) => callback(this.failure ?? null, { pulls: this.pulls }),
      listMachines: (_call, callback) => callback(this.failure ?? null, { machines: this.machines }),
      pull: (call) => (this.failure === undefined ? this.onPull(call) : void call.emit("error", this.failure)),
      watchPull: (call) => void call.end(),
    };
    this.#server.addService(VmletService, implementation);
  }

  static async listen(): Promise<FakeVmletServer> {
    const fake = new FakeVmletServer(await mkdtemp(join(tmpdir(), "vmlet-fake-")));
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    fake.#server.bindAsync(`unix:${fake.socketPath}`, ServerCredentials.createInsecure(), (error) =>
      error ? reject(error) : resolve(),
    );
    await promise;
    return fake;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    await rm(this.#folderPath, { recursive: true, force: true });
  }
}
