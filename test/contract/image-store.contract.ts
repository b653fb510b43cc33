// What every ImageStore must do, whatever it is made of.

import { expect, test } from "vitest";
import { type ImageDigest, newMachineId, type PullId } from "../../src/model/ids.ts";
import type { ImageStore } from "../../src/ports/image-store.ts";

export interface ImageStoreUnderTest extends AsyncDisposable {
  readonly store: ImageStore;
  /** Makes an image pullable under `vmlet.dev/…/<path>`; again: changes it. @returns its name without a tag. */
  publish(path: string, content: string): Promise<string>;
  /** As `publish`, but no more than the first half of the bytes comes before `letGo`. */
  publishHeldBack(path: string, content: string): Promise<{ readonly name: string; readonly letGo: () => void }>;
  /** A name of the same kind behind which there is nothing. */
  readonly absentName: string;
  hasBytes(digest: ImageDigest): Promise<boolean>;
  /** As after a restart: what was saved is there, nothing else. */
  readonly reopen: () => Promise<ImageStore>;
}

const signal = AbortSignal.timeout(60_000);

export function imageStoreContract(make: () => Promise<ImageStoreUnderTest>): void {
  test("a pulled image is found by all its names, its digest and its short digest", async () => {
    await using under = await make();
    const name = await under.publish("a.qcow2", "one");
    const image = await under.store.pull(name, signal);
    expect(image.pulledAtMs).toBeGreaterThan(1_600_000_000_000);
    expect(image).toMatchObject({ repoTags: [`${name}:latest`], repoDigests: [`${name}@${image.digest}`] });
    expect(image.sizeBytes).toBeGreaterThan(0);
    expect(image.virtualSizeBytes).toBeGreaterThan(0);
    const { digest } = image;
    const spellings = [name, `${name}:latest`, `${name}@${digest}`, digest, digest.slice(7), digest.slice(7, 19)];
    expect(spellings.map((spelling) => under.store.find(spelling)?.digest)).toEqual(spellings.map(() => digest));
    expect(under.store.list()).toEqual([image]);
  });

  test("what was never pulled is not found, however it is spelled", async () => {
    await using under = await make();
    const name = await under.publish("a.qcow2", "one");
    await under.store.pull(name, signal);
    const absent = [
      `${name}:other`,
      `${name}-2`,
      `sha256:${"0".repeat(64)}`,
      "0".repeat(12),
      "Not A Name",
      "",
      "@",
      ":",
    ];
    expect(absent.map((spelling) => under.store.find(spelling))).toEqual(absent.map(() => undefined));
  });

  test("a name that cannot be parsed, and one behind which there is nothing, fail as such", async () => {
    await using under = await make();
    await expect(under.store.pull("vmlet.dev/https/host/UPPER", signal)).rejects.toMatchObject({
      failure: { code: "IMAGE_REFERENCE_INVALID" },
    });
    await expect(under.store.pull(under.absentName, signal)).rejects.toMatchObject({
      failure: { code: "IMAGE_NOT_FOUND" },
    });
    expect(under.store.list()).toEqual([]);
  });

  test("a digest in the name must be that of the bytes", async () => {
    await using under = await make();
    const name = await under.publish("a.qcow2", "one");
    const { digest } = await under.store.pull(name, signal);
    const wrong = `sha256:${"5".repeat(64)}`;
    await expect(under.store.pull(`${name}@${wrong}`, signal)).rejects.toMatchObject({
      failure: { code: "IMAGE_DIGEST_MISMATCH", wanted: wrong, found: digest },
    });
    expect(await under.store.pull(`${name}@${digest}`, signal)).toMatchObject({ digest });
  });

  test("two names of the same bytes are one image, removed as one", async () => {
    await using under = await make();
    const first = await under.publish("a.qcow2", "one");
    const second = await under.publish("b.qcow2", "one");
    await under.store.pull(first, signal);
    const image = await under.store.pull(second, signal);
    expect(image.repoTags).toEqual([`${first}:latest`, `${second}:latest`]);
    expect(under.store.list()).toHaveLength(1);
    await under.store.remove(second, signal);
    expect(under.store.list()).toEqual([]);
    expect(under.store.find(first)).toBeUndefined();
    expect(await under.hasBytes(image.digest)).toBe(false);
  });

  test("a name moves to the new image when its source has changed, and the old bytes go", async () => {
    await using under = await make();
    const name = await under.publish("a.qcow2", "one");
    const old = await under.store.pull(name, signal);
    await under.publish("a.qcow2", "another");
    const current = await under.store.pull(name, signal);
    expect(current.digest).not.toBe(old.digest);
    expect(under.store.find(name)?.digest).toBe(current.digest);
    expect(under.store.find(old.digest)).toBeUndefined();
    expect(await under.hasBytes(old.digest)).toBe(false);
    expect(await under.hasBytes(current.digest)).toBe(true);
  });

  test("held bytes outlive the image and every move of its name, and go with the last release", async () => {
    await using under = await make();
    const [one, two] = [newMachineId(), newMachineId()];
    const name = await under.publish("a.qcow2", "one");
    const { digest } = await under.store.pull(name, signal);
    const held = await under.store.hold(digest, one, signal);
    expect(await under.store.hold(digest, one, signal)).toEqual(held);
    await under.store.hold(digest, two, signal);
    await under.store.remove(name, signal);
    expect(under.store.find(digest)).toBeUndefined();
    expect(await under.hasBytes(digest)).toBe(true);
    expect((await under.store.hold(digest, one, signal)).path).toBe(held.path);
    await under.store.release(one, signal);
    await under.store.release(one, signal);
    expect(await under.hasBytes(digest)).toBe(true);
    await under.store.release(two, signal);
    expect(await under.hasBytes(digest)).toBe(false);
  });

  test("an image that is not here cannot be held", async () => {
    await using under = await make();
    const digest = `sha256:${"7".repeat(64)}` as ImageDigest;
    await expect(under.store.hold(digest, newMachineId(), signal)).rejects.toMatchObject({
      failure: { code: "IMAGE_NOT_FOUND" },
    });
  });

  test("removing or releasing what is not there changes nothing", async () => {
    await using under = await make();
    const name = await under.publish("a.qcow2", "one");
    await under.store.pull(name, signal);
    await under.store.remove(under.absentName, signal);
    await under.store.remove("Not A Name", signal);
    await under.store.release(newMachineId(), signal);
    expect(under.store.list()).toHaveLength(1);
  });

  test("usage rises with a pull and falls with a removal", async () => {
    await using under = await make();
    const empty = await under.store.usage();
    const name = await under.publish("a.qcow2", "one");
    await under.store.pull(name, signal);
    const full = await under.store.usage();
    expect(full.usedBytes).toBeGreaterThan(empty.usedBytes);
    expect(full.usedInodes).toBeGreaterThan(empty.usedInodes);
    await under.store.remove(name, signal);
    expect(await under.store.usage()).toEqual(empty);
  });

  test("an aborted call has the signal's reason as its failure", async () => {
    await using under = await make();
    const name = await under.publish("a.qcow2", "one");
    const reason = new Error("caller went away");
    await expect(under.store.pull(name, AbortSignal.abort(reason))).rejects.toBe(reason);
    expect(under.store.list()).toEqual([]);
  });

  test("a pull is seen while it is under way, with who waits for it, and no longer", async () => {
    await using under = await make();
    const { name, letGo } = await under.publishHeldBack("slow.qcow2", "one");
    const told: PullId[] = [];
    const onJoined = (pullId: PullId): void => void told.push(pullId);
    const pulls = ["one", "two"].map(async (who) => under.store.pull(name, signal, undefined, { name: who, onJoined }));
    await expect
      .poll(() => under.store.pulls())
      .toEqual([expect.objectContaining({ image: `${name}:latest`, phase: "receiving", waiters: ["one", "two"] })]);
    const [seen] = under.store.pulls();
    expect(told).toEqual([seen?.pullId, seen?.pullId]);
    expect(seen?.startedAtMs).toBeGreaterThan(Date.now() - 60_000);
    expect(seen?.receivedBytes).toBeLessThan(seen?.totalBytes ?? 0);
    const lookedOn = under.store.untilPulled(seen?.pullId ?? "", signal);
    letGo();
    const [image] = await Promise.all(pulls);
    expect(await lookedOn).toEqual(image);
    expect(under.store.pulls()).toEqual([]);
    await expect(under.store.untilPulled(seen?.pullId ?? "", signal)).rejects.toMatchObject({
      failure: { code: "PULL_NOT_FOUND" },
    });
  });

  test("who leaves a pull is no longer named, and the last one to leave ends it also for those who only look on", async () => {
    await using under = await make();
    const { name } = await under.publishHeldBack("slow.qcow2", "one");
    const [first, last] = [new AbortController(), new AbortController()];
    const pulls = Promise.allSettled([
      under.store.pull(name, first.signal, undefined, { name: "first" }),
      under.store.pull(name, last.signal, undefined, { name: "last" }),
    ]);
    await expect.poll(() => under.store.pulls()[0]?.waiters).toEqual(["first", "last"]);
    const lookedOn = under.store.untilPulled(under.store.pulls()[0]?.pullId ?? "", signal);
    const outcome = expect(lookedOn).rejects.toThrow("last left");
    first.abort(new Error("first left"));
    await expect.poll(() => under.store.pulls()[0]?.waiters).toEqual(["last"]);
    last.abort(new Error("last left"));
    await pulls;
    await outcome;
    expect(under.store.pulls()).toEqual([]);
    expect(under.store.list()).toEqual([]);
  });

  test("who looks on hears why a pull failed", async () => {
    await using under = await make();
    let lookedOn: Promise<unknown> | undefined;
    const onJoined = (pullId: PullId): void => {
      lookedOn = under.store.untilPulled(pullId, signal).catch((error: unknown) => error);
    };
    const pulling = under.store.pull(under.absentName, signal, undefined, { name: "one", onJoined });
    await expect(pulling).rejects.toMatchObject({ failure: { code: "IMAGE_NOT_FOUND" } });
    expect(await lookedOn).toMatchObject({ failure: { code: "IMAGE_NOT_FOUND" } });
  });

  test("names and holds outlive a restart, and so do the bytes of what is only held", async () => {
    await using under = await make();
    const machineId = newMachineId();
    const kept = await under.store.pull(await under.publish("a.qcow2", "one"), signal);
    const dropped = await under.store.pull(await under.publish("b.qcow2", "two"), signal);
    const held = await under.store.hold(dropped.digest, machineId, signal);
    await under.store.remove(dropped.digest, signal);
    const store = await under.reopen();
    expect(store.list()).toEqual([kept]);
    expect(await store.hold(dropped.digest, machineId, signal)).toEqual({
      ...held,
      image: { ...held.image, repoTags: [], repoDigests: [], pulledAtMs: undefined },
    });
    await store.release(machineId, signal);
    expect(await under.hasBytes(dropped.digest)).toBe(false);
    return undefined;
  });
}
