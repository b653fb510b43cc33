// Counts an engine's port calls, and lets one go wrong: it fails, its caller goes away meanwhile, libvirtd comes back
// just then and everything is recovered, or the daemon dies.

export type Mishap = "fails before" | "fails after" | "is aborted at" | "recovers at" | "dies before" | "dies after";

export class Mishaps {
  /** Names of the port calls since the last `plan`, in order, also those of engines that came after a death. */
  readonly calls: string[] = [];
  #planned: ReadonlyMap<number, Mishap> = new Map();
  /** Only the newest engine's calls are carried out. */
  #generation = 0;
  #death = Promise.withResolvers<"died">();
  #caller = new AbortController();
  readonly #recover: () => void;

  /** @param recover Sets off a recovery, and returns at once. */
  constructor(recover: () => void) {
    this.#recover = recover;
  }

  /** What happens at which call, counted from 1 and from now. */
  plan(mishaps: ReadonlyMap<number, Mishap>): void {
    this.calls.length = 0;
    this.#planned = mishaps;
  }

  /** Of the engine that was begun last. */
  get death(): Promise<"died"> {
    return this.#death.promise;
  }

  isDead = false;

  /** Ends every engine there is, as kill -9 does: what waits for a call of it waits for ever. */
  beginAnew(): void {
    this.#generation += 1;
    this.#death = Promise.withResolvers<"died">();
    this.isDead = false;
  }

  /** The signal of a caller that goes away where that is planned. */
  callerSignal(): AbortSignal {
    this.#caller = new AbortController();
    return this.#caller.signal;
  }

  /** @param isPlain Calls of it are carried out without being counted. */
  watch<T extends object>(name: string, port: T, isPlain: (call: string) => boolean): T {
    const generation = this.#generation;
    const never = new Promise<never>(() => {});
    return new Proxy(port, {
      get: (target, key) => {
        const member: unknown = Reflect.get(target, key, target);
        if (typeof member !== "function") return member;
        if (typeof key === "symbol" || isPlain(`${name}.${key}`)) return member.bind(target);
        return async (...args: unknown[]): Promise<unknown> => {
          if (generation !== this.#generation) return await never;
          const mishap = this.#planned.get(this.calls.push(`${name}.${key}`));
          if (mishap === "fails before") throw new Error(`${name}.${key} was made to fail`);
          if (mishap === "dies before") return await this.#die(never);
          if (mishap === "is aborted at") this.#caller.abort();
          if (mishap === "recovers at") {
            this.#recover();
            await new Promise((resolve) => setImmediate(resolve)); // as far as it gets
          }
          const result: unknown = await member.apply(target, args);
          if (mishap === "fails after") throw new Error(`${name}.${key} was made to fail afterwards`);
          if (mishap === "dies after") return await this.#die(never);
          return generation === this.#generation ? result : await never;
        };
      },
    });
  }

  async #die(never: Promise<never>): Promise<never> {
    this.isDead = true;
    this.#death.resolve("died");
    this.#generation += 1;
    return await never;
  }
}
