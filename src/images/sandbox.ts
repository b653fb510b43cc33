// How a program that reads a stranger's bytes is run: as nobody where we are root, with limits.

export interface SandboxLimits {
  readonly memoryBytes: number;
  readonly cpuSeconds?: number;
}

/** @param tool Program and arguments. @returns those to run instead. */
export function sandboxed(tool: readonly string[], { memoryBytes, cpuSeconds }: SandboxLimits): [string, ...string[]] {
  const cpu = cpuSeconds === undefined ? [] : [`--cpu=${cpuSeconds}`];
  const limits = [...cpu, `--as=${memoryBytes}`, "--core=0", "--"];
  if (process.getuid?.() !== 0) return ["prlimit", ...limits, ...tool];
  const nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs", "--"];
  return ["prlimit", ...limits, ...nobody, ...tool];
}
