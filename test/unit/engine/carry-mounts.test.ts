import { expect, test } from "vitest";
import { carryMounts } from "../../../src/engine/carry-mounts.ts";
import type { PodRecord } from "../../../src/ports/pod-store.ts";
import { podSpec, soon } from "./world.ts";

const pod = { facts: { spec: podSpec() } } as unknown as PodRecord;
const MOUNTS = 5_000;

test.each([
  ["a MiB each", 1, 1 << 20, 8],
  ["64 empty files each", 64, 0, 1_024],
])("mounts without end of %s are carried as far as a node's memory allows", async (_what, count, sizeBytes, most) => {
  let read = 0;
  const content = Buffer.alloc(sizeBytes);
  const hostFiles = {
    carry: ({ containerPath }: { readonly containerPath: string }) => {
      read += 1;
      const files = Array.from({ length: count }, (_, index) => `${containerPath}/${index}`);
      return Promise.resolve({
        is: "carried" as const,
        files: files.map((guestPath) => ({ guestPath, content, mode: 0o600 })),
      });
    },
  };
  const mounts = Array.from({ length: MOUNTS }, (_, index) => ({
    containerPath: `/m/${index}`,
    hostPath: "/x",
    isReadOnly: true,
  }));
  const { files, notices } = await carryMounts({ hostFiles }, pod, { env: [], mounts }, soon());
  expect(files).toHaveLength(most);
  expect(read).toBe(most / count + 1);
  expect(notices).toHaveLength(MOUNTS - most / count);
  expect(notices.at(-1)).toBe(
    `mount /m/${MOUNTS - 1}: all mounts of a container together are copied up to 8388608 bytes and 1024 files`,
  );
});
