// What one runtime was last known to have: whose an id is, and what a list says while the runtime cannot be asked.

import { messageOf, numberField, partsAt, textAt } from "./fields.ts";
import { filterOf } from "./filter.ts";
import type { Kind } from "./methods.ts";

type Items = Readonly<Record<Kind, readonly Uint8Array[]>>;

export interface Memory {
  readonly items: Items;
  /** Of these a whole list was heard once; of the others there may be more than the items. */
  readonly heard: readonly Kind[];
}

interface ListTraits {
  readonly isWhole: boolean;
  readonly isStale?: boolean;
}

const ID_FIELD = 1;
const LIST_FIELD = 1;
/** Of PodSandbox. */
const METADATA_FIELD = 2;
const UID_FIELD = 2;
/** Of Container. */
const SANDBOX_ID_FIELD = 2;
const STATE_FIELD = { PodSandbox: 3, Container: 6 } as const;
const SANDBOX_NOT_READY = 1;
export const CONTAINER_STATE = { RUNNING: 1, EXITED: 2 } as const;
const ANSWERS_KEPT = 32;
/** Of what was removed: more than can be removed while one list is under way. */
const REMOVED_KEPT = 1_000;

/**
 * Items are kept as the bytes they came in: fields that we do not know are not lost. Between two lists it follows the
 * calls that pass: a pod that was made a moment ago is in it.
 */
export class Mirror {
  readonly #items: Readonly<Record<Kind, Map<string, Uint8Array>>> = {
    PodSandbox: new Map(),
    Container: new Map(),
    Image: new Map(),
  };
  /** Whole lists as they came, the last of each kind; and whether the items are still those of an earlier one. */
  readonly #latest = new Map<Kind, { readonly list: Uint8Array; isNews: boolean }>();
  /** The last ids that were. An id is never used again. */
  readonly #removed = new Set<string>();
  readonly #heard: Set<Kind>;
  readonly #answers = new Map<string, readonly Uint8Array[]>();
  readonly #onChange: () => void;
  #changes = 0;

  constructor({ items, heard }: Memory, onChange: () => void) {
    this.#onChange = onChange;
    this.#heard = new Set(heard);
    for (const kind of Object.keys(items) as Kind[])
      for (const item of items[kind]) this.#items[kind].set(textAt(item, ID_FIELD), item);
  }

  /** How often something was changed by a call that passed. A list that was asked for before that is not the last word. */
  get changes(): number {
    return this.#changes;
  }

  /**
   * What a list said. `isWhole`: it had no filter. Such lists come all the time and say the same, in another order: they are
   * looked into when somebody asks for what is in them. `isStale`: a call changed something while it was under way. What
   * is known then is newer than the list, and what was removed does not come back.
   */
  learn(kind: Kind, list: Uint8Array, { isWhole, isStale = false }: ListTraits): void {
    if (isWhole && !isStale) {
      const latest = this.#latest.get(kind);
      if (latest !== undefined && Buffer.compare(latest.list, list) === 0) return;
      this.#latest.set(kind, { list, isNews: true });
    } else {
      const items = this.#known(kind);
      for (const [id, item] of itemsIn(list) ?? []) {
        if (!isStale || !(items.has(id) || this.#removed.has(id))) items.set(id, item);
      }
      this.#latest.delete(kind);
    }
    this.#onChange();
  }

  /** Something was made. */
  put(kind: "PodSandbox" | "Container", item: Uint8Array): void {
    this.#edit(kind, (items) => void items.set(textAt(item, ID_FIELD), item));
  }

  /** Its state is another: in protobuf the last value of a field counts, whatever else we know of it. */
  setContainerState(id: string, state: (typeof CONTAINER_STATE)[keyof typeof CONTAINER_STATE]): void {
    this.#append("Container", id, numberField(STATE_FIELD.Container, state));
  }

  /** It stopped, and with it whatever is in it. */
  stopSandbox(id: string): void {
    this.#append("PodSandbox", id, numberField(STATE_FIELD.PodSandbox, SANDBOX_NOT_READY));
    for (const container of this.#containersOf(id)) this.setContainerState(container, CONTAINER_STATE.EXITED);
  }

  removeContainer(id: string): void {
    this.#remove("Container", id);
  }

  /** It is gone, and with it whatever was in it. */
  removeSandbox(id: string): void {
    for (const container of this.#containersOf(id)) this.removeContainer(container);
    this.#remove("PodSandbox", id);
  }

  /** Whether it has that id, or had it a moment ago: then it can say that it is gone. */
  has(kind: Kind, id: string): boolean {
    return this.#items[kind].has(id);
  }

  /** The whole id of the one that `beginning` begins, or is. */
  find(kind: Kind, beginning: string): string | undefined {
    const items = this.#known(kind);
    if (items.has(beginning)) return beginning;
    if (beginning === "") return undefined;
    const found = [...items.keys()].filter((id) => id.startsWith(beginning));
    return found.length === 1 ? found[0] : undefined;
  }

  hasPodOf(uid: string): boolean {
    return (
      uid !== "" &&
      [...this.#known("PodSandbox").values()].some((pod) => textAt(pod, METADATA_FIELD, UID_FIELD) === uid)
    );
  }

  /** What the list call of that kind would have answered when we last knew. */
  answer(kind: Kind, request: Uint8Array): Uint8Array {
    return messageOf(LIST_FIELD, this.#known(kind).values().filter(filterOf(kind, request)));
  }

  /** The same for lists that are not looked into: what the same question was answered last. */
  keepAnswer(path: string, request: Uint8Array, answer: readonly Uint8Array[]): void {
    const key = keyOf(path, request);
    this.#answers.delete(key);
    this.#answers.set(key, answer);
    const [oldest] = this.#answers.keys();
    if (this.#answers.size > ANSWERS_KEPT && oldest !== undefined) this.#answers.delete(oldest);
  }

  /** Undefined: it was never asked, or too long ago. */
  lastAnswer(path: string, request: Uint8Array): readonly Uint8Array[] | undefined {
    return this.#answers.get(keyOf(path, request));
  }

  /** Whether all of that kind was known at some time. */
  hasHeard(kind: Kind): boolean {
    this.#known(kind);
    return this.#heard.has(kind);
  }

  memory(): Memory {
    const of = (kind: Kind): Uint8Array[] => [...this.#known(kind).values()];
    const items = { PodSandbox: of("PodSandbox"), Container: of("Container"), Image: of("Image") };
    return { items, heard: [...this.#heard] };
  }

  /** With what the last whole list said. */
  #known(kind: Kind): Map<string, Uint8Array> {
    const items = this.#items[kind];
    const latest = this.#latest.get(kind);
    if (latest?.isNews !== true) return items;
    latest.isNews = false;
    const found = itemsIn(latest.list);
    if (found === undefined) return items;
    this.#heard.add(kind);
    items.clear();
    for (const [id, item] of found) items.set(id, item);
    return items;
  }

  #containersOf(sandboxId: string): string[] {
    const of = ([, item]: [string, Uint8Array]): boolean => textAt(item, SANDBOX_ID_FIELD) === sandboxId;
    return [...this.#known("Container")].filter(of).map(([id]) => id);
  }

  #remove(kind: Kind, id: string): void {
    this.#edit(kind, (items) => void items.delete(id));
    this.#removed.add(id);
    const [oldest] = this.#removed;
    if (this.#removed.size > REMOVED_KEPT && oldest !== undefined) this.#removed.delete(oldest);
  }

  #append(kind: Kind, id: string, fields: Uint8Array): void {
    this.#edit(kind, (items) => {
      const item = items.get(id);
      if (item !== undefined) items.set(id, Buffer.concat([item, fields]));
    });
  }

  #edit(kind: Kind, change: (items: Map<string, Uint8Array>) => void): void {
    change(this.#known(kind));
    this.#latest.delete(kind);
    this.#changes += 1;
    this.#onChange();
  }
}

/** A list that is malformed teaches nothing; its caller had it, too. */
function itemsIn(list: Uint8Array): [id: string, item: Uint8Array][] | undefined {
  try {
    return partsAt(list, LIST_FIELD).map((item) => [textAt(item, ID_FIELD), item]);
  } catch {
    return undefined;
  }
}

const keyOf = (path: string, request: Uint8Array): string => `${path} ${Buffer.from(request).toString("base64")}`;
