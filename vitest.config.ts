import { defineConfig } from "vitest/config";

/** How long `expect.poll` asks: in vitest's own second a busy machine may not run whoever is asked. */
const expectOptions = { poll: { timeout: 20_000 } };

// unit: no world outside a temp folder. integration: real libvirtd, QEMU, CNI; run by `make test`, one file at a time.
export default defineConfig({
  test: {
    passWithNoTests: false,
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/repo/**/*.test.ts", "test/fuzz/**/*.test.ts"],
          testTimeout: 30_000, // a bound for a machine that is busy with virtual machines, not a target
          hookTimeout: 30_000,
          expect: expectOptions,
        },
      },
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 120_000,
          hookTimeout: 120_000,
          expect: expectOptions,
        },
      },
    ],
  },
});
