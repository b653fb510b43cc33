// The scripts on the seed. They need a POSIX sh and a few tools that busybox has, too: docs/guest-contract.md.

import { posix } from "node:path";
import { invalid } from "../model/failure.ts";
import { INPUT_LINE } from "../model/input-line.ts";
import type { WorkloadInput } from "../model/machine.ts";
import { RUN_AS_PATH } from "../model/run-as.ts";
import type { SeedFile } from "../ports/seed.ts";
import { SSH_UNIT_NAME, type SshFile } from "./exec/serve.ts";
import { shellQuote, withoutNul } from "./shell.ts";

/** What the guest runs as the pod's command. */
export function workloadScript(argv: readonly string[], workingDir: string): string {
  const words = argv.map((word, index) => shellQuote(withoutNul(`command[${index}]`, word)));
  const folder = shellQuote(withoutNul("workingDir", workingDir === "" ? "/" : workingDir));
  return [
    "#!/bin/sh",
    "# The command of this machine's pod.",
    "set -a",
    '. "${VMLET_ROOT:-}/etc/vmlet/environment"',
    "set +a",
    `mkdir -p ${folder} && cd ${folder} || exit 126`,
    `exec ${words.join(" ")}`,
    "",
  ].join("\n");
}

/** Runs the workload, tells the host its exit status, powers off. */
export function runWorkloadScript(input?: WorkloadInput): string {
  return [RUN_WORKLOAD_HEAD, input === undefined ? NO_INPUT : input.isTty ? TERMINAL_INPUT : PLAIN_INPUT].join("");
}

const RUN_WORKLOAD_HEAD = `#!/bin/sh
# Runs the command of this machine's pod on the console, reports how it ended, and powers the machine off.
console=/dev/console
port=/dev/virtio-ports/dev.vmlet.init.0
if [ ! -e "$port" ]; then
  for each in /sys/class/virtio-ports/*; do
    if [ "$(cat "$each/name" 2>/dev/null)" = dev.vmlet.init.0 ]; then port=/dev/\${each##*/}; fi
  done
fi
workload=\${VMLET_ROOT:-}/etc/vmlet/workload

end() {
  echo "exit $1" >"$port"
  if [ -d /run/systemd/system ]; then exec systemctl --no-block poweroff; fi
  poweroff || poweroff -f
}

`;

const NO_INPUT = `sh "$workload" </dev/null >"$console" 2>&1
end $?
`;

const TERMINAL_INPUT = `sh "$workload" <"$console" >"$console" 2>&1
end $?
`;

/**
 * As in a container: pipes and no terminal, nothing echoed, line ends as they are. Ctrl-D on the console ends the input. The
 * console is held open: what comes while nobody has it open is lost. dd passes on each line; cat of busybox, by sendfile, none.
 */
const PLAIN_INPUT = `exec 5<>"$console"
stty -echo -opost <&5
printf ${shellQuote(INPUT_LINE.replace("\n", "\\n"))} >&5
dd bs=4096 <&5 2>/dev/null | {
  status=$({ { sh "$workload" 5>&-; echo $? >&3; } 2>&1 | cat >&5; } 3>&1)
  end "$status"
}
`;

export interface SetupParts {
  readonly hasWorkload: boolean;
  readonly hasRunAs: boolean;
  readonly ssh: readonly SshFile[];
  /** By path below /proc/sys. */
  readonly sysctls: Readonly<Record<string, string>>;
}

/** Puts everything from the seed where it belongs; run at each boot. */
export function setupScript(files: readonly SeedFile[], { hasWorkload, hasRunAs, ssh, sysctls }: SetupParts): string {
  const puts = files.map(({ guestPath, mode }, index) => {
    if (!isNormalGuestPath(guestPath)) {
      throw invalid("mounts", `${JSON.stringify(guestPath.slice(0, 200))} is not an absolute, normal path in a guest`);
    }
    return `put files/${index} ${octal(mode)} ${shellQuote(guestPath)}`;
  });
  const own = ["put environment 0600 /etc/vmlet/environment"];
  if (hasWorkload) own.push("put workload 0755 /etc/vmlet/workload", "put run-workload 0755 /etc/vmlet/run-workload");
  if (hasRunAs) own.push(`put run-as 0755 ${RUN_AS_PATH}`);
  own.push(...ssh.map(({ name, mode }) => `put ssh/${name} ${octal(mode)} /etc/vmlet/ssh/${name}`));
  const settings = Object.entries(sysctls).map(([path, value]) => `sysctl ${shellQuote(path)} ${shellQuote(value)}`);
  return [SETUP_HEAD, ...own, ...puts, ...settings, "exit $failed", ""].join("\n");
}

const octal = (mode: number): string => (mode & 0o777).toString(8).padStart(4, "0");

const SETUP_HEAD = `#!/bin/sh
# Installs what this machine's pod was given. The result is the same however often it runs.
case $0 in */*) here=\${0%/*} ;; *) here=. ;; esac
root=\${VMLET_ROOT:-}
failed=0
umask 022

# put SOURCE MODE TARGET: a reader sees the old file or the new one.
put() {
  new=$root$3.vmlet-new
  if mkdir -p "$root\${3%/*}" && (umask 077 && cp "$here/$1" "$new") && chmod "$2" "$new" && mv -f "$new" "$root$3"; then
    return
  fi
  echo "vmlet: cannot write $3" >&2
  failed=1
}

# sysctl PATH VALUE, below /proc/sys
sysctl() {
  printf '%s\\n' "$2" 2>/dev/null >"$root/proc/sys/$1" && return
  echo "vmlet: this kernel does not take sysctl $1 = $2" >&2
  failed=1
}

# A router that advertises itself is another pod that wants this one's packets.
for each in "$root"/proc/sys/net/ipv6/conf/*/accept_ra; do
  if [ -e "$each" ]; then echo 0 2>/dev/null >"$each"; fi
done
`;

/**
 * cloud-init's vendor-data: a boothook and not a cloud-config, because lists of the user's cloud-config (write_files,
 * runcmd) would replace ours, and because it runs at every boot. The user's own user-data is not touched by it.
 */
export const VENDOR_DATA = `#cloud-boothook
#!/bin/sh
# vmlet: sets the machine up for its pod, and starts the pod's command if it has one.
seed=/run/vmlet/seed
mkdir -p "$seed"
device=$(blkid -L cidata) || device=/dev/disk/by-label/cidata
mount -t iso9660 -o ro "$device" "$seed" || exit 1
sh "$seed/vmlet/setup"
if [ -e "$seed/vmlet/${SSH_UNIT_NAME}" ]; then
  if [ -d /run/systemd/system ]; then
    cp "$seed/vmlet/${SSH_UNIT_NAME}" /run/systemd/system/
    systemctl daemon-reload
    systemctl --no-block start ${SSH_UNIT_NAME}
  else
    (while :; do sh /etc/vmlet/ssh/serve; sleep 1; done) </dev/null >/dev/null 2>&1 &
  fi
fi
if [ -e "$seed/vmlet/run-workload" ]; then
  if [ -d /run/systemd/system ]; then
    cp "$seed/vmlet/vmlet-workload.service" /run/systemd/system/
    systemctl daemon-reload
    systemctl --no-block start vmlet-workload.service
  else
    (cloud-init status --wait; sh /etc/vmlet/run-workload) </dev/null >/dev/null 2>&1 &
  fi
fi
umount "$seed"
`;

/** After cloud-init's last stage, so that what the user's user-data sets up is there when the command runs. */
export const WORKLOAD_UNIT = `[Unit]
Description=Command of this machine's pod
After=network-online.target cloud-final.service

[Service]
ExecStart=/bin/sh /etc/vmlet/run-workload
`;

function isNormalGuestPath(path: string): boolean {
  return (
    posix.isAbsolute(path) &&
    path !== "/" &&
    !path.endsWith("/") &&
    posix.normalize(path) === path &&
    !path.includes("\0")
  );
}
