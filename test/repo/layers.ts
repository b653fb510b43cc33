// The import law of src/: a folder may import what its row names, and itself. Moving an arrow is an edit here.

export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  "main.ts": ["daemon.ts", "config", "cli", "telemetry", "lib"],
  "daemon.ts": ["*"],
  lib: [],
  model: ["lib"],
  ports: ["model"],
  engine: ["ports", "model", "lib"],
  cri: ["engine", "ports", "model", "lib", "gen"],
  libvirt: ["ports", "model", "lib", "gen"],
  "libvirt/client": ["lib", "gen"],
  cni: ["ports", "model", "lib"],
  images: ["ports", "model", "lib"],
  kernel: ["ports", "model", "lib"],
  guest: ["ports", "model", "lib"],
  console: ["ports", "model", "lib"],
  streaming: ["ports", "model", "lib"],
  store: ["ports", "model", "lib"],
  config: ["model", "lib"],
  telemetry: ["ports", "lib"],
  cli: ["gen", "config", "lib"],
  gen: [],
};
