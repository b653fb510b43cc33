// What becomes of a call: one runtime's, both runtimes', or remembered.

import { backoff, sleepMs } from "../lib/backoff.ts";
import { untilAborted } from "../lib/keyed-lock.ts";
import { singleFlight } from "../lib/single-flight.ts";
import { type ChooseOptions, type ChoosingRoute, choose, type Runtimes } from "./choose.ts";
import { messageOf, partsAt, textAt } from "./fields.ts";
import { type Call, forward } from "./forward.ts";
import { CODE, frame, RpcError } from "./grpc.ts";
import { isChange, isCreation, isEnd, learnChange } from "./learn.ts";
import { type Route, routeOf } from "./methods.ts";
import type { Reply } from "./reply.ts";
import type { Question, Runtime } from "./runtime.ts";
import { mergedStatus } from "./status.ts";

/** Between two tries to hear the machines' events again. */
const AGAIN = { firstMs: 100, maxMs: 5_000 };
/** Services of vmlet's own: its commands for people work through the router, too. */
const OWN_SERVICES = "/vmlet.";
/** Of ImageFsInfoResponse. */
const IMAGE_FS_FIELD = 1;
const CONTAINER_FS_FIELD = 2;

export interface Asked extends Call {
  readonly request: Uint8Array;
  readonly timeoutMs?: number | undefined;
}

export class Calls {
  readonly #runtimes: Runtimes;
  readonly #options: ChooseOptions;
  readonly #learnAll: () => Promise<void>;

  /** @param closing Aborted when the router stops. */
  constructor(runtimes: Runtimes, options: ChooseOptions, closing: AbortSignal) {
    this.#runtimes = runtimes;
    this.#options = options;
    this.#learnAll = singleFlight(async () => {
      await Promise.all([runtimes.containers.learn(closing), runtimes.machines.learn(closing)]);
    });
  }

  /** A call that the router does not know, its messages unread. */
  async passOn(call: Call, reply: Reply, signal: AbortSignal): Promise<void> {
    const { containers, machines } = this.#runtimes;
    const runtime = call.path.startsWith(OWN_SERVICES) ? machines : containers;
    await forward(runtime.backend, call, undefined, reply, signal);
  }

  async answer(route: Route, asked: Asked, reply: Reply, signal: AbortSignal): Promise<void> {
    const { containers, machines } = this.#runtimes;
    switch (route.by) {
      case "handler":
      case "id":
      case "image":
        return await this.#one(await this.#chosen(route, asked.request, signal), asked, reply, signal);
      case "list":
        return reply.succeed(...(await this.#list({ ...asked, kind: route.kind }, signal)));
      case "events":
        return await this.#events(asked, reply, signal);
      case "telling": {
        const [answer] = await Promise.all([
          containers.ask(asked, signal),
          machines.ask(asked, signal).catch(() => {}), // it asks for nothing that a restart does not bring
        ]);
        return reply.succeed(frame(answer));
      }
      case "status":
        return reply.succeed(frame(await mergedStatus(this.#runtimes, asked, this.#options.handlers, signal)));
      case "image-fs":
        return reply.succeed(frame(await this.#imageFs(asked, signal)));
    }
  }

  /** An id that nobody is known to have may have been made behind our back. Undefined: nobody has it. */
  async #chosen(route: ChoosingRoute, request: Uint8Array, signal: AbortSignal): Promise<Runtime | undefined> {
    const known = choose(route, request, this.#runtimes, this.#options);
    if (known !== undefined) return known;
    await untilAborted(this.#learnAll(), signal);
    return choose(route, request, this.#runtimes, this.#options);
  }

  /**
   * What nobody has is containers'. Where they refuse it for that, the machines' runtime has the last word: CRI wants the end
   * of what is gone to succeed, and not every containerd does that.
   */
  async #one(chosen: Runtime | undefined, asked: Asked, reply: Reply, signal: AbortSignal): Promise<void> {
    const { containers, machines } = this.#runtimes;
    try {
      await this.#single(chosen ?? containers, asked, reply, signal);
    } catch (error) {
      if (chosen !== undefined) throw this.#withRemedy(error, chosen, asked);
      if (!isEnd(asked.path) || !(error instanceof RpcError) || error.code !== CODE.NOT_FOUND) throw error;
      const answer = await machines.ask(asked, signal).catch(() => undefined);
      if (answer === undefined) throw error;
      reply.succeed(frame(answer));
    }
  }

  async #single(runtime: Runtime, asked: Asked, reply: Reply, signal: AbortSignal): Promise<void> {
    const { path, request, metadata } = asked;
    if (!isChange(path)) return await forward(runtime.backend, asked, request, reply, signal);
    const messages = await Array.fromAsync(runtime.backend.stream(path, request, metadata, signal));
    const answer = Buffer.concat(messages);
    learnChange(runtime.saved.mirror, path, request, answer);
    if (isCreation(path)) await runtime.saved.settled(); // on disk before anyone counts on it
    reply.succeed(frame(answer));
  }

  /** A pod of one runtime with an image of the other. */
  #withRemedy(error: unknown, runtime: Runtime, { path, request }: Asked): unknown {
    if (!(error instanceof RpcError) || error.code !== CODE.NOT_FOUND || routeOf(path)?.by !== "id") return error;
    const image = textAt(request, ...CONTAINER_IMAGE_PATH);
    if (image === "") return error;
    const isMachine = runtime === this.#runtimes.machines;
    const remedy = isMachine
      ? "a machine's image is named vmlet.dev/… (or begins with one of images.registry.prefixes); a container's image needs a pod without this runtimeClassName"
      : "an image of a virtual machine needs a pod whose runtimeClassName is vmlet's";
    return new RpcError(
      error.code,
      `${error.message} (image ${image} in a pod of the ${runtime.name} runtime: ${remedy})`,
    );
  }

  async #list(question: Question, signal: AbortSignal): Promise<readonly Buffer[]> {
    const { containers, machines } = this.#runtimes;
    const [first, second] = await Promise.all([
      containers.list(question, signal),
      machines.list(question, signal).catch((error: unknown) => {
        signal.throwIfAborted();
        if (!(error instanceof RpcError)) throw error;
        return error.code === CODE.UNIMPLEMENTED ? [] : machines.remembered(question); // containers must not suffer
      }),
    ]);
    const messages = [...first, ...second];
    return isStreamed(question.path) ? messages.map((message) => frame(message)) : [frame(...messages)];
  }

  /** Ends as the containers' stream ends; the machines' is taken up again for as long as the caller listens. */
  async #events({ path, request, metadata }: Asked, reply: Reply, signal: AbortSignal): Promise<void> {
    const ended = new AbortController();
    const either = AbortSignal.any([signal, ended.signal]);
    const listen = async ({ backend }: Runtime): Promise<void> => {
      for await (const event of backend.stream(path, request, metadata, either))
        await reply.write(frame(event), either);
    };
    const listenForEver = async (): Promise<void> => {
      for (let pauses = backoff(AGAIN), pauseMs = 0; ; ) {
        const startedAtMs = performance.now();
        await listen(this.#runtimes.machines).catch(() => {});
        if (performance.now() - startedAtMs > pauseMs) pauses = backoff(AGAIN); // it was there, and is soon again
        pauseMs = pauses.next().value;
        await sleepMs(pauseMs, either);
      }
    };
    reply.begin(); // the caller knows that it is heard before the first event
    const machines = listenForEver().catch(() => {});
    try {
      await listen(this.#runtimes.containers);
      reply.succeed();
    } finally {
      ended.abort();
      await machines;
    }
  }

  /** The kubelet looks at the first filesystem of each kind: the containers'. */
  async #imageFs(question: Question, signal: AbortSignal): Promise<Uint8Array> {
    const { containers, machines } = this.#runtimes;
    const [own, added] = await Promise.all([
      containers.ask(question, signal),
      machines.list(question, signal).catch(() => machines.remembered(question)),
    ]);
    const extra = Buffer.concat(added);
    const fields = [IMAGE_FS_FIELD, ...(partsAt(own, CONTAINER_FS_FIELD).length > 0 ? [CONTAINER_FS_FIELD] : [])];
    return Buffer.concat([own, ...fields.map((field) => messageOf(field, partsAt(extra, field)))]);
  }
}

/** Of CreateContainerRequest: config.image.image. */
const CONTAINER_IMAGE_PATH = [2, 2, 1];

const isStreamed = (path: string): boolean => path.includes("/Stream");
