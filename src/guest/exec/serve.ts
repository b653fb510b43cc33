// The guest's side of exec by ssh: what the seed installs in /etc/vmlet/ssh. docs/guest-contract.md.

import type { ExecKeys } from "./keys.ts";

/** By its file name, below `vmlet/ssh/` on the seed and `/etc/vmlet/ssh/` in the guest. */
export interface SshFile {
  readonly name: string;
  readonly mode: number;
  readonly content: string;
}

/** systemd's unit for it; installed by cloud-init's boothook. */
export const SSH_UNIT_NAME = "vmlet-ssh.service";

export const SSH_UNIT = `[Unit]
Description=Way in for this machine's pod, past its network
StartLimitIntervalSec=0

[Service]
ExecStart=/bin/sh /etc/vmlet/ssh/serve
Restart=always
RestartSec=1
# What was started in the background goes on when the connection ends.
KillMode=process
TasksMax=infinity
`;

export function sshFiles({ host, client }: ExecKeys, user: string): readonly SshFile[] {
  return [
    { name: "host_key", mode: 0o600, content: host.privateKey },
    { name: "authorized_keys", mode: 0o644, content: `restrict,pty ${client.publicKey}\n` },
    { name: "user", mode: 0o644, content: `${user}\n` },
    { name: "sshd_config", mode: 0o644, content: SSHD_CONFIG },
    { name: "command", mode: 0o755, content: COMMAND_SCRIPT },
    { name: "serve", mode: 0o755, content: SERVE_SCRIPT },
  ];
}

/** Nothing of the guest's own sshd_config plays a part, and the other way round. */
const SSHD_CONFIG = `HostKey /etc/vmlet/ssh/host_key
AuthorizedKeysFile /etc/vmlet/ssh/authorized_keys
AuthenticationMethods publickey
PermitRootLogin prohibit-password
ForceCommand /etc/vmlet/ssh/command
DisableForwarding yes
PermitUserRC no
PermitUserEnvironment no
MaxSessions 10000
# The host connects when it likes, and may take its time.
LoginGraceTime 0
MaxAuthTries 3
UseDNS no
PrintMotd no
PrintLastLog no
Compression no
PidFile none
LogLevel ERROR
`;

/** The login shell, which may be any, runs this and nothing else: what is between the quotes is always read by sh. */
const COMMAND_SCRIPT = `#!/bin/sh
line=$SSH_ORIGINAL_COMMAND
unset SSH_ORIGINAL_COMMAND SSH_CLIENT SSH_CONNECTION SSH_TTY
eval "$line"
`;

const SERVE_SCRIPT = `#!/bin/sh
# Serves ssh on the machine's own port, for one connection of the host; whoever starts this starts it again.
PATH=\${PATH:-/usr/sbin:/usr/bin:/sbin:/bin}
here=/etc/vmlet/ssh
port=/dev/virtio-ports/dev.vmlet.ssh.0
if [ ! -e "$port" ]; then
  for each in /sys/class/virtio-ports/*; do
    if [ "$(cat "$each/name" 2>/dev/null)" = dev.vmlet.ssh.0 ]; then port=/dev/\${each##*/}; fi
  done
fi
[ -e "$port" ] || { echo "vmlet: no port dev.vmlet.ssh.0" >&2; exec sleep 60; }

sshd=
while :; do
  for each in "$(command -v sshd)" /usr/sbin/sshd /usr/bin/sshd /usr/local/sbin/sshd /usr/lib/ssh/sshd; do
    if [ -x "$each" ]; then sshd=$each; break 2; fi
  done
  sleep 5 # user-data may be about to install it
done
[ -d /run/sshd ] || mkdir -p -m 0755 /run/sshd

# sshd lets nobody in whose password is locked, unless PAM decides; PAM's sessions are nothing that a command wants.
read -r user <"$here/user"
pam=no
if grep -q "^$user:!" /etc/shadow 2>/dev/null; then pam=yes; fi
if [ "$user" != root ] && id "$user" >/dev/null 2>&1; then
  (umask 077 && cp /etc/vmlet/environment "$here/environment") && chown "$user" "$here/environment"
fi

# For a terminal, libaudit in sshd looks up the name of where we come from, which is none, and a DNS that does not answer
# would hold the session up. The command does not inherit these.
export RES_OPTIONS=attempts:0 SYSTEMD_NSS_RESOLVE_NETWORK=0
exec 3<>"$port" || exit
printf '\\r\\n' >&3 || exit # waits for the host to connect, while a read would say at once that nobody is there
exec "$sshd" -i -f "$here/sshd_config" -o UsePAM=$pam <&3 >&3 3>&-
`;
