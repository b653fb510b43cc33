// How a program that reads a stranger's bytes is run: as nobody where we are root, alone in namespaces of its own, with
// limits. Of the host it sees the programs in /usr and the one file that it is for.
//
// The sandbox is bubblewrap's. As root it makes no user namespace, because nodes forbid those; the program is nobody by
// setpriv instead, which keeps no capability over it. There is no /proc, so nothing tells of other processes.

export interface SandboxLimits {
  readonly memoryBytes: number;
  readonly cpuSeconds?: number;
  /** The file that it may read, and finds at SANDBOX_FILE_PATH. Absent: it gets its bytes by a pipe. */
  readonly filePath?: string;
}

export const SANDBOX_FILE_PATH = "/file";

/** What has to be installed, for messages. */
export const SANDBOX_PACKAGES = "bubblewrap and util-linux";

const NOBODY = ["--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"];

const NAMESPACES = [
  "--unshare-pid", // dies as a whole when its first process is killed
  "--unshare-net", // of one loopback interface; hides abstract unix sockets, too
  "--unshare-ipc",
  "--unshare-uts",
  "--unshare-cgroup-try",
  "--die-with-parent",
];

const FOLDERS = [
  "--ro-bind /usr /usr",
  "--ro-bind-try /lib /lib", // links into /usr, or not
  "--ro-bind-try /lib64 /lib64",
  "--perms 0755 --dir /etc --ro-bind-try /etc/ld.so.cache /etc/ld.so.cache",
  "--perms 0755 --dir /dev --dev-bind /dev/null /dev/null", // QEMU tries on it how files are locked here
  "--chdir /",
].flatMap((line) => line.split(" "));

/** @param tool Program and arguments. @returns those to run instead. */
export function sandboxed(tool: readonly string[], limits: SandboxLimits): [string, ...string[]] {
  const { memoryBytes, cpuSeconds, filePath } = limits;
  const isRoot = process.getuid?.() === 0;
  const rights = isRoot
    ? ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    : ["--unshare-user"];
  const file = filePath === undefined ? [] : ["--ro-bind", filePath, SANDBOX_FILE_PATH];
  const cpu = cpuSeconds === undefined ? [] : [`--cpu=${cpuSeconds}`];
  const limited = ["prlimit", ...cpu, `--as=${memoryBytes}`, "--core=0", "--fsize=0", "--"];
  const nobody = isRoot ? ["setpriv", ...NOBODY, "--"] : [];
  return ["bwrap", ...NAMESPACES, ...rights, ...FOLDERS, ...file, "--", ...limited, ...nobody, ...tool];
}

/** Whether the program never ran: bubblewrap, prlimit and setpriv say so in these ways. */
export function isSandboxFailure(exitCode: number | null, stderr: string): boolean {
  return exitCode === 126 || exitCode === 127 || stderr.startsWith("bwrap: ");
}
